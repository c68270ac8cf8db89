/**
 * What jobs find out, in the form in which it is kept with the job: plain data that JSON can hold.
 */
import type { ContentGroup } from './vocabulary.ts';

/** What a scan made of the backups in a store; each is counted once, except that a damaged or foreign one is also found. */
export interface ScanReport {
  /** Entered into the catalogue. */
  found: number;
  /** In the catalogue before. */
  known: number;
  /** Of those found: not whole. */
  damaged: number;
  /** Of those found: made by another console. */
  foreign: number;
  /** Neither found nor known: nothing could be learnt about them, or they are left-overs. The job's messages name them. */
  ignored: number;
}

/** One kind of difference between a backup and its target. */
export interface PlannedEntries {
  count: number;
  /** Absolute paths of the first of them; a directory's ends in a slash. */
  paths: string[];
}

/** What a restore of one group would change. */
export interface PlannedGroup {
  group: ContentGroup;
  /** Directories and files that it would replace, as the deployment declares them. */
  targets: string[];
  /** Databases that it would replace whole; what differs in them is not known. */
  databases: string[];
  added: PlannedEntries;
  changed: PlannedEntries;
  removed: PlannedEntries;
  /** There now and not readable, where the source lets that pass: whether the restore would change them is not known. */
  unreadable: PlannedEntries;
  unchanged: number;
  /** Bytes of the files that are added or changed. */
  bytesToWrite: number;
  /** Bytes of everything in the group: what the restore unpacks before it replaces anything. */
  bytesToUnpack: number;
}

/** What a restore would change. */
export interface RestorePlanReport { groups: PlannedGroup[] }
