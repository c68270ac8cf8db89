/**
 * From the bytes of a YAML file to plain values whose lines and columns can be found again.
 */
import { isUtf8 } from 'node:buffer';
import { open } from 'node:fs/promises';
import { type Document, isAlias, isMap, isNode, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from 'yaml';
import { ConfigError } from '../domain/errors.ts';
import { type Locator, type Pointer, type Position, quoted, unusable, withoutSecrets } from './faults.ts';

/** A deployment file is read whole into memory, so it is bounded. */
const LARGEST_FILE = 1024 * 1024;

/** Uses of an anchor times what it expands to; a file that needs more is made to exhaust memory. */
const MOST_ALIASES = 1000;

export interface FileDocument extends Locator {
  /** Not validated yet. */
  value: unknown;
}

/** Reads one YAML document. @throws ConfigError where it cannot be read or is not YAML. */
export async function readDocument(file: string): Promise<FileDocument> {
  const bytes = await readBytes(file);
  if (!isUtf8(bytes)) {
    throw unusable(file, [{ ...firstNotUtf8(bytes), message: 'this is not UTF-8; save the file as UTF-8' }]);
  }
  // The decoder drops a byte order mark, which would shift the columns of the first line.
  const text = new TextDecoder().decode(bytes);
  const lines = new LineCounter();
  try {
    return parse(file, text, lines);
  } catch (error) {
    // Outside of the parser's own bound, turning nodes into values descends likewise.
    if (error instanceof RangeError) throw unusable(file, [{ line: 1, column: 1, message: 'the file is nested too deeply' }]);
    throw error;
  }
}

function parse(file: string, text: string, lines: LineCounter): FileDocument {
  // Warnings are told as faults below, so the parser is not to write them to the console.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: '1.2', logLevel: 'error' });
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const problems = [...document.errors, ...document.warnings];
  // The parser descends one call per level, and follows that error with one for each level.
  const exhausted = problems.find(({ code }) => code === 'RESOURCE_EXHAUSTION');
  if (exhausted !== undefined) throw unusable(file, [{ ...at(exhausted.pos[0]), message: 'the file is nested too deeply' }]);
  if (problems.length > 0) {
    throw unusable(file, problems.map(({ code, message, pos }) => ({ ...at(pos[0]), message: explain(code, message, text.slice(pos[0], pos[0] + 80)) })));
  }
  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
    throw unusable(file, [{ line: 1, column: 1, message: 'the file is empty; it needs deployment, stores and hosts' }]);
  }
  const value = expand(document, file, at);
  return {
    value,
    positionOf: (pointer, part = 'value') => at(offsetOf(document, pointer, part)),
    spellingOf: (pointer) => {
      const node = walk(document, pointer).at(-1);
      return isScalar(node?.value) ? node.value.source : undefined;
    },
  };
}

function explain(code: string, message: string, text: string): string {
  switch (code) {
    case 'TAB_AS_INDENT':
      return 'a tab; YAML is indented with spaces alone';
    case 'DUPLICATE_KEY': {
      const key = /^["']?([\w.-]+)/.exec(text)?.[1];
      return `the key${key === undefined ? '' : ` ${key}`} is here twice; remove one`;
    }
    case 'MULTIPLE_DOCS':
      return 'a second document begins here; a deployment file holds one';
    default:
      // It may cite what it stumbled over.
      return `not valid YAML: ${withoutSecrets(message)}`;
  }
}

function expand(document: Document, file: string, at: (offset: number) => Position): unknown {
  try {
    return document.toJS({ maxAliasCount: MOST_ALIASES });
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    // An alias without its anchor and an expansion without bound are told apart by looking for the former.
    const aliases: { offset: number; dangling: boolean; name: string }[] = [];
    visit(document, {
      Alias: (_, alias) => {
        aliases.push({ offset: alias.range?.[0] ?? 0, dangling: alias.resolve(document) === undefined, name: alias.source });
      },
    });
    const dangling = aliases.filter((alias) => alias.dangling);
    throw unusable(file, dangling.length > 0
      ? dangling.map(({ offset, name }) => ({ ...at(offset), message: `*${name} stands for nothing; its anchor &${name} must come before it` }))
      : [{ ...at(aliases[0]?.offset ?? 0), message: 'the aliases (*name) of this file expand to too much; write the values out' }]);
  }
}

/** The nodes from the root towards the pointer, as far as they are there; an alias ends the walk. */
function walk(document: Document, pointer: Pointer): { key: Node | null; value: Node | null }[] {
  const steps: { key: Node | null; value: Node | null }[] = [{ key: null, value: isNode(document.contents) ? document.contents : null }];
  for (const part of pointer) {
    const here = steps.at(-1)?.value;
    let step: { key: Node | null; value: Node | null } | undefined;
    if (isMap(here)) {
      const pair = here.items.find((item) => isScalar(item.key) ? String(item.key.value) === String(part) : false);
      if (isPair(pair)) step = { key: isNode(pair.key) ? pair.key : null, value: isNode(pair.value) ? pair.value : null };
    } else if (isSeq(here)) {
      const item = here.items[Number(part)];
      if (isNode(item)) step = { key: null, value: item };
    }
    if (step === undefined) break;
    steps.push(step);
    // Faults are told where an alias is used, since what it stands for may be right elsewhere.
    if (isAlias(step.value)) break;
  }
  return steps;
}

function offsetOf(document: Document, pointer: Pointer, part: 'key' | 'value'): number {
  const steps = walk(document, pointer);
  const last = steps.at(-1);
  const wanted = part === 'key' && steps.length === pointer.length + 1 ? last?.key ?? last?.value : last?.value ?? last?.key;
  return wanted?.range?.[0] ?? 0;
}

async function readBytes(file: string): Promise<Buffer> {
  let read: Buffer;
  try {
    await using handle = await open(file, 'r');
    // No more than the bound is ever held, whatever the file turns out to be.
    const chunks: Buffer[] = [];
    for await (const chunk of handle.createReadStream({ end: LARGEST_FILE, autoClose: false })) chunks.push(chunk as Buffer);
    read = Buffer.concat(chunks);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const what = code === 'ENOENT' ? 'it is not there' : code === 'EISDIR' ? 'it is a directory' : code ?? 'unknown failure';
    throw new ConfigError(`The deployment file ${quoted(file)} cannot be read: ${what}.`, [], 'Set DEPLOYMENT_FILE to the path of a readable YAML file.');
  }
  if (read.length > LARGEST_FILE) {
    throw new ConfigError(`The deployment file ${quoted(file)} is larger than 1 MiB.`, [], 'Set DEPLOYMENT_FILE to the path of a deployment file.');
  }
  return read;
}

function firstNotUtf8(bytes: Buffer): Position {
  let line = 1;
  let start = 0;
  for (let end = bytes.indexOf(10); end !== -1 && isUtf8(bytes.subarray(start, end)); end = bytes.indexOf(10, start)) {
    start = end + 1;
    line += 1;
  }
  const end = bytes.indexOf(10, start);
  return { line, column: bytes.subarray(start, end === -1 ? undefined : end).toString('utf8').indexOf('\uFFFD') + 1 };
}
