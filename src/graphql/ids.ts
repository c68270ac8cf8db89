/**
 * Global ids: what every id that is answered looks like, and what id arguments accept.
 */
import type { Noun } from '../records/rows.ts';
import type { InputRef } from '../services/context.ts';

export const NODE_TYPES = ['Deployment', 'Host', 'BackupConfiguration', 'BackupStore', 'Backup', 'Restore', 'Job', 'Schedule'] as const satisfies Noun[];

export const globalId = (type: Noun, id: number): string => Buffer.from(`${type}:${id}`).toString('base64url');

const FORM = /^(\w+):([1-9]\d{0,15})$/;
const NUMBER = /^\d{1,15}$/;

/** The type and number in a global id; null for anything else. */
export function readGlobalId(id: string): { type: Noun; id: number } | null {
  const [, type, number] = FORM.exec(Buffer.from(id, 'base64').toString('latin1')) ?? [];
  const known = NODE_TYPES.find((candidate) => candidate === type);
  return known === undefined ? null : { type: known, id: Number(number) };
}

/** Reads an id argument: the global id of a record of this type, or the documented number. */
export function readId(type: Noun, id: string): InputRef {
  if (NUMBER.test(id)) return { by: 'number', number: Number(id) };
  const read = readGlobalId(id);
  return read?.type === type ? { by: 'id', id: read.id } : 'none';
}

/** Likewise for an argument that may be left out; null: it was. */
export const readOptionalId = (type: Noun, id: string | null | undefined): InputRef | null => (id == null ? null : readId(type, id));
