/**
 * How a backup's archives are called.
 */
import type { ContentGroup } from '../domain/vocabulary.ts';

/**
 * The file name of each archive, in order: `GROUP.tar.zst` where the group has one source, else `GROUP.1.tar.zst`
 * and so on; `DATA` stands for no group; `.age` is added to an encrypted one.
 */
export function archiveNames(groups: readonly (ContentGroup | null)[], encrypted: boolean): string[] {
  const seen = new Map<ContentGroup | null, number>();
  return groups.map((group) => {
    const nth = (seen.get(group) ?? 0) + 1;
    seen.set(group, nth);
    const isOnly = groups.filter((other) => other === group).length === 1;
    return `${group ?? 'DATA'}${isOnly ? '' : `.${nth}`}.tar.zst${encrypted ? '.age' : ''}`;
  });
}
