/**
 * How backups and their archives are called.
 */
import type { SourceSpec } from '../domain/deployment.ts';
import type { ContentGroup } from '../domain/vocabulary.ts';
import { ioFault } from './faults.ts';

/**
 * Lets a backup's name through only where it stays in its store and is none of the names that unfinished ones have.
 *
 * @throws EngineError IO
 */
export function requireBackupName(name: string): void {
  const leadsOut = ['/', '\0'].some((character) => name.includes(character));
  if (name === '' || name.startsWith('.') || leadsOut) throw ioFault(new Error('a store cannot hold a backup of this name'), `${JSON.stringify(name)} is no backup`);
}

/** Lets an attempt's name through only where it can be part of a file's name. @throws EngineError IO */
export function requireAttempt(attempt: string): void {
  if (!/^[A-Za-z0-9_.-]+$/.test(attempt)) throw ioFault(new Error('it has other than letters, digits, "-", "_" and "."'), `${JSON.stringify(attempt)} names no attempt`);
}

/**
 * The file name of each archive, in order: `GROUP.tar.zst` where the group has one source, else `GROUP.1.tar.zst`
 * and so on; `.pgdump.zst` where the source is a database; `DATA` stands for no group; `.age` is added to an encrypted one.
 */
export function archiveNames(archives: readonly { group: ContentGroup | null; source: Pick<SourceSpec, 'type'> }[], encrypted: boolean): string[] {
  const seen = new Map<ContentGroup | null, number>();
  return archives.map(({ group, source }) => {
    const nth = (seen.get(group) ?? 0) + 1;
    seen.set(group, nth);
    const isOnly = archives.filter((other) => other.group === group).length === 1;
    return `${group ?? 'DATA'}${isOnly ? '' : `.${nth}`}.${source.type === 'POSTGRES' ? 'pgdump' : 'tar'}.zst${encrypted ? '.age' : ''}`;
  });
}
