/**
 * How the files of a source's layers are called. `ls` shows them in the order in which they are unpacked.
 */
const SUFFIX = /\.tar\.zst(\.age)?$/;

/** Of `DATA.1.tar.zst`, update 2: `DATA.1.update.02.tar.zst`. */
export const updateName = (whole: string, layer: number): string =>
  whole.replace(SUFFIX, `.update.${String(layer).padStart(2, '0')}.tar.zst$1`);

/** Of the names that are removed before it is unpacked: `DATA.1.update.02.removed.zst`. */
export const removedName = (update: string): string => update.replace(SUFFIX, '.removed.zst$1');
