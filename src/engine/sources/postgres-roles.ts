/**
 * Finds in the SQL of a dump which roles it speaks of. Some that it finds may be none: text of a function can look like
 * that, and does no harm.
 */
import { Writable } from 'node:stream';

const NAME = String.raw`(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)`;
const STATEMENT = /^(?:ALTER|GRANT|REVOKE|CREATE POLICY|CREATE USER MAPPING|SET SESSION AUTHORIZATION)\b/;
const OWNER = new RegExp(` OWNER TO (${NAME});$`);
const MENTION = new RegExp(` (?:TO|FROM|FOR ROLE|FOR|AUTHORIZATION) (${NAME}(?:, ${NAME})*)(?=[ ;]|$)`, 'g');

const unquoted = (name: string): string => (name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name);

/** Takes the SQL and keeps the names. */
export class RoleNames extends Writable {
  /** All of them. */
  readonly names = new Set<string>();
  /** Those that own something. */
  readonly owners = new Set<string>();
  #rest = '';

  override _write(data: Buffer, _encoding: BufferEncoding, done: () => void): void {
    // Names are compared as text; pg_restore writes in the encoding of the dump, which is UTF-8 nearly everywhere.
    const lines = (this.#rest + data.toString('latin1')).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#look(Buffer.from(line, 'latin1').toString('utf8'));
    done();
  }

  #look(line: string): void {
    if (!STATEMENT.test(line)) return;
    const owner = OWNER.exec(line)?.[1];
    if (owner !== undefined) this.#add(unquoted(owner), this.owners);
    for (const [, list = ''] of line.matchAll(MENTION)) {
      for (const name of list.match(new RegExp(NAME, 'g')) ?? []) this.#add(unquoted(name), this.names);
    }
  }

  #add(name: string, to: Set<string>): void {
    // Nobody can make a role of such a name.
    if (name.startsWith('pg_') || name === 'public' || name === 'none') return;
    to.add(name);
    this.names.add(name);
  }
}
