/**
 * The form of a deployment file: `deployment.schema.json`, with each fault put into words an operator can act on.
 */
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js';
import schema from '../../deployment.schema.json' with { type: 'json' };
import { type FaultList, nearest, type Pointer, quoted, spelled, startsWith } from './faults.ts';

const validate = new Ajv2020({ allErrors: true, verbose: true }).compile(schema);

/** Notes everything in which the value departs from the schema. */
export function checkForm(value: unknown, faults: FaultList): void {
  const unsupported = checkUnsupported(value, faults);
  if (validate(value)) return;
  const errors = (validate.errors ?? []).map((error) => ({ error, pointer: pointerOf(error.instancePath, value) }));
  /** Keys that a misspelt one stands for, so that they are not called missing as well. */
  const meant = new Map<string, Set<string>>();
  for (const { error, pointer } of errors) {
    if (error.keyword !== 'additionalProperties') continue;
    const meaning = nearest(String(error.params['additionalProperty']), allowedKeys(error));
    if (meaning !== undefined) meant.set(error.instancePath, (meant.get(error.instancePath) ?? new Set()).add(meaning));
    if (!unsupported.some((prefix) => startsWith(pointer, prefix))) tellUnknownKey(error, pointer, meaning, faults);
  }
  for (const { error, pointer } of errors) {
    if (error.keyword === 'additionalProperties' || unsupported.some((prefix) => startsWith(pointer, prefix))) continue;
    tell(error, pointer, meant.get(error.instancePath) ?? new Set(), faults);
  }
}

/** Known words of later versions: told as such, and nothing else about the part that holds them. */
function checkUnsupported(value: unknown, faults: FaultList): Pointer[] {
  const prefixes: Pointer[] = [];
  const root = asRecord(value);
  asList(root['stores']).forEach((store, index) => {
    if (asRecord(store)['type'] !== 'S3') return;
    faults.add(['stores', index, 'type'], `stores[${index}]: stores of type S3 are not supported in this version; allowed: DIRECTORY`);
    prefixes.push(['stores', index]);
  });
  asList(root['hosts']).forEach((host, index) => {
    const { content, data } = asRecord(host);
    const groups = Object.entries(asRecord(content)).map(([group, sources]) => ({ sources, at: ['hosts', index, 'content', group] }));
    for (const { sources, at } of [...groups, { sources: data, at: ['hosts', index, 'data'] }]) {
      asList(sources).forEach((source, position) => {
        if (!Object.hasOwn(asRecord(source), 'postgres')) return;
        const pointer = [...at, position];
        faults.add([...pointer, 'postgres'], `${spelled(pointer)}: postgres sources are not supported in this version; allowed: directory, file`, 'key');
        prefixes.push(pointer);
      });
    }
  });
  return prefixes;
}

function tellUnknownKey(error: ErrorObject, pointer: Pointer, meaning: string | undefined, faults: FaultList): void {
  const key = String(error.params['additionalProperty']);
  const at = [...pointer, key];
  const advice = key === '<<' ? 'merge keys are not read, write the values out'
    : meaning === undefined ? `allowed: ${allowedKeys(error).join(', ')}`
      : `did you mean ${meaning}?`;
  faults.add(at, `${spelled(at)} is not known here; ${advice}`, 'key');
}

function tell(error: ErrorObject, pointer: Pointer, meant: ReadonlySet<string>, faults: FaultList): void {
  const name = spelled(pointer);
  const { keyword, data, params } = error;
  const parent = asRecord(error.parentSchema);
  switch (keyword) {
    case 'required':
      // The branches of `oneOf` say what a source may be; `oneOf` itself is told instead.
      if (error.schemaPath.includes('/oneOf/') || meant.has(String(params['missingProperty']))) return;
      return faults.add(pointer, `${spelled([...pointer, String(params['missingProperty'])])} is missing`);
    case 'oneOf': {
      if (!isRecord(data) || meant.has('directory') || meant.has('file')) return;
      const both = params['passingSchemas'] !== null;
      return faults.add(pointer, `${name} has ${both ? 'both directory and file' : 'neither directory nor file'}; it must have one of them`);
    }
    case 'type':
      return faults.add(pointer, typeFault(name, String(params['type']), data, faults.spellingOf(pointer)));
    case 'enum': {
      const allowed = (params['allowedValues'] as unknown[]).map(String);
      const meaning = typeof data === 'string' ? nearest(data, allowed) : undefined;
      const found = data === null ? 'empty' : quoted(data);
      return faults.add(pointer, `${name} is ${found}; allowed: ${allowed.join(', ')}${meaning === undefined ? '' : `; did you mean ${meaning}?`}`);
    }
    case 'pattern':
      return faults.add(pointer, `${name} is ${quoted(data)}; allowed: ${String(parent['description'])}`);
    case 'maxLength':
      return faults.add(pointer, `${name} is too long; allowed: up to ${String(params['limit'])} characters`);
    case 'minimum':
    case 'maximum':
      return faults.add(pointer, `${name} is ${quoted(data)}; allowed: a whole number from ${String(parent['minimum'])} to ${String(parent['maximum'])}`);
    case 'minItems':
      return faults.add(pointer, `${name} is an empty list; at least one entry is needed`);
    case 'uniqueItems': {
      const later = Math.max(Number(params['i']), Number(params['j']));
      return faults.add([...pointer, later], `${name}[${later}] is in the list already; remove it`);
    }
    default:
      return faults.add(pointer, `${name} ${error.message ?? 'is not allowed'}`);
  }
}

const TYPES: Record<string, string> = {
  object: 'a mapping (key: value)', array: 'a list', string: 'a text', boolean: 'true or false', integer: 'a whole number',
};

function typeFault(name: string, type: string, data: unknown, spelling: string | undefined): string {
  if (data === null) return `${name} is empty; it must be ${TYPES[type] ?? type}`;
  if (type === 'string' && (typeof data === 'number' || typeof data === 'boolean')) {
    // As the file spells it: a version 7.10 must not come back as 7.1.
    const text = spelling ?? String(data);
    return `${name} is the ${typeof data === 'number' ? 'number' : 'truth value'} ${text}, it must be a text; put it in quotes: "${text}"`;
  }
  const found = Array.isArray(data) ? 'a list' : isRecord(data) ? 'a mapping' : quoted(data);
  return `${name} is ${found}; it must be ${TYPES[type] ?? type}`;
}

/** List positions become numbers, so that a key of digits is not taken for one. */
function pointerOf(instancePath: string, root: unknown): Pointer {
  let here = root;
  return instancePath.split('/').slice(1).map((raw) => {
    const part = raw.replaceAll('~1', '/').replaceAll('~0', '~');
    const isPosition = Array.isArray(here);
    here = isPosition ? asList(here)[Number(part)] : asRecord(here)[part];
    return isPosition ? Number(part) : part;
  });
}

const allowedKeys = (error: ErrorObject): string[] => Object.keys(asRecord(asRecord(error.parentSchema)['properties']));

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const asRecord = (value: unknown): Record<string, unknown> => (isRecord(value) ? value : {});
const asList = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
