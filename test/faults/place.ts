/**
 * Where the backups of a scene lie, and what can go wrong with it: the same for a directory and for an object store, so
 * that one table of faults drives both.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { Site } from '../support/site.ts';

/** The types of stores that there are scenes for. */
export type StoreKind = 'DIRECTORY' | 'S3';

/** A store on a small disk of its own, which no gateway has opened yet. */
export interface Place {
  /** How the deployment file declares it, its name apart. */
  readonly declaration: object;
  /** What the gateway needs in its environment to use it. */
  readonly env: Record<string, string>;
  /** How long a job may take to end, in milliseconds: an object store is tried for a while before it counts as away. */
  readonly patience: number;
  /** For how long something may be left over, in milliseconds: each look at an object store is paid for, and so they are rare. */
  readonly settling: number;

  /** Copies the files of the backup at a `contentFilePath` into a directory. */
  copyOut(location: string, to: string): Promise<void>;
  /** Whether anything is there. */
  isThere(location: string): Promise<boolean>;
  /** Copies a backup within the store, as a person would. @returns the copy's name */
  duplicate(location: string): Promise<string>;
  /** Removes what `duplicate` has made. */
  removeCopy(name: string): Promise<void>;
  /** Everything in it that belongs to none of these backups, and those of them that are not there. */
  oddities(site: Site): Promise<string[]>;

  fill(): Promise<void> | void;
  empty(): Promise<void> | void;
  /** Takes away the right to write, where that is possible now. */
  protect(): Promise<void>;
  unprotect(): Promise<void> | void;
  /** The store is not there any more; what is there instead answers. */
  hide(): Promise<void> | void;
  show(): Promise<void> | void;
  close(): Promise<void> | void;
}

/** The directories of the backups that the catalogue holds for whole. */
export async function wholeBackups(site: Site): Promise<string[]> {
  return (await site.sql`select directory from backups where status = 'SUCCESS'`).map((row) => String(row['directory']));
}

/** Writes a file until the disk is full. */
export function fillDisk(path: string): void {
  const file = fs.openSync(join(path, 'filler'), 'w');
  const block = Buffer.alloc(1024 * 1024, 1);
  try {
    for (;;) fs.writeSync(file, block);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    fs.closeSync(file);
  }
}

/** Removes that file. */
export function emptyDisk(path: string): void {
  fs.rmSync(join(path, 'filler'), { force: true });
}
