/**
 * The form of a deployment file: `deployment.schema.json`, with each fault put into words an operator can act on.
 */
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js';
import schema from '../../deployment.schema.json' with { type: 'json' };
import { type FaultList, nearest, type Pointer, quoted, spelled } from './faults.ts';

// A hook's list begins with a program and goes on for as long as it likes, which `strictTuples` takes for a slip. That the
// schema is one, a test has checked: a start need not again, nor make code short that runs once.
const validate = new Ajv2020({ allErrors: true, verbose: true, strictTuples: false, validateSchema: false, meta: false, code: { optimize: false } }).compile(schema);

/** Notes everything in which the value departs from the schema. */
export function checkForm(value: unknown, faults: FaultList): void {
  if (validate(value)) return;
  const errors = (validate.errors ?? []).map((error) => ({ error, pointer: pointerOf(error.instancePath, value) }));
  /** Keys that a misspelt one stands for, so that they are not called missing as well. */
  const meant = new Map<string, Set<string>>();
  for (const { error, pointer } of errors) {
    if (error.keyword !== 'additionalProperties') continue;
    const key = String(error.params['additionalProperty']);
    const meaning = isCredential(key, pointer) ? undefined : nearest(key, allowedKeys(error));
    if (meaning !== undefined) meant.set(error.instancePath, (meant.get(error.instancePath) ?? new Set()).add(meaning));
    tellUnknownKey(error, pointer, meaning, faults);
  }
  for (const { error, pointer } of errors) {
    if (error.keyword !== 'additionalProperties') tell(error, pointer, meant.get(error.instancePath) ?? new Set(), faults);
  }
}

/** Keys by which other programs give the credentials of an object store. */
const isCredential = (key: string, pointer: Pointer): boolean =>
  pointer[0] === 'stores' && /^(aws|s3)?_?(access|secret|session|credential|password|token)/i.test(key);

function tellUnknownKey(error: ErrorObject, pointer: Pointer, meaning: string | undefined, faults: FaultList): void {
  const key = String(error.params['additionalProperty']);
  const at = [...pointer, key];
  const advice = isCredential(key, pointer) ? 'credentials are never in this file: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment'
    : key === '<<' ? 'merge keys are not read, write the values out'
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
    case 'if':
      // What does not hold behind it is told.
      return;
    case 'oneOf': {
      if (!isRecord(data) || SOURCES.some((kind) => meant.has(kind))) return;
      const found = SOURCES.filter((kind) => Object.hasOwn(data, kind));
      const what = found.length === 0 ? 'none of directory, file and postgres' : `${found.length === 2 ? 'both ' : ''}${joined(found)}`;
      return faults.add(pointer, `${name} has ${what}; it must have one of them`);
    }
    case 'dependentRequired': {
      const [key, missing] = [String(params['property']), String(params['missingProperty'])];
      // Of a source that is nothing, or more than one thing, that alone is told.
      if (meant.has(missing) || SOURCES.filter((kind) => Object.hasOwn(asRecord(data), kind)).length !== 1) return;
      if (key === 'postgres') return faults.add(pointer, `${spelled([...pointer, missing])} is missing`);
      return faults.add([...pointer, key], `${spelled([...pointer, key])} is for a ${missing === 'postgres' ? 'postgres source' : missing} alone; remove it`, 'key');
    }
    case 'false schema': {
      const owner = pointer[0] !== 'stores' ? 'a postgres source' : pointer.at(-1) === 'path' ? 'a store of type S3' : 'a store of type DIRECTORY';
      return faults.add(pointer, `${name} is not for ${owner}; remove it`, 'key');
    }
    case 'type':
      if (pointer.at(-1) === 'run' && typeof data === 'string') {
        return faults.add(pointer, `${name} is a text; it must be a list of the program and its arguments, such as [systemctl, stop, siem], since no shell is used`);
      }
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
      if (parent['exclusiveMinimum'] !== undefined) return tell({ ...error, keyword: 'exclusiveMinimum' }, pointer, meant, faults);
      return faults.add(pointer, `${name} is ${quoted(data)}; allowed: a whole number from ${String(parent['minimum'])} to ${String(parent['maximum'])}`);
    case 'exclusiveMinimum':
      return faults.add(pointer, `${name} is ${quoted(data)}; allowed: a number above ${String(parent['exclusiveMinimum'])}, up to ${String(parent['maximum'])}`);
    case 'minItems':
      return faults.add(pointer, `${name} is an empty list; at least one entry is needed`);
    case 'uniqueItems': {
      const later = Math.max(Number(params['i']), Number(params['j']));
      return faults.add([...pointer, later], `${name}[${later}] is in the list already; remove it`);
    }
    case 'maxItems':
      return faults.add(pointer, `${name} has too many entries; allowed: up to ${String(params['limit'])}`);
    default:
      return faults.add(pointer, `${name} ${error.message ?? 'is not allowed'}`);
  }
}

const TYPES: Record<string, string> = {
  object: 'a mapping (key: value)', array: 'a list', string: 'a text', boolean: 'true or false', integer: 'a whole number', number: 'a number',
};

/** What a source can be; each has one of these keys. */
const SOURCES = ['directory', 'file', 'postgres'];
const joined = (words: readonly string[]): string => `${words.slice(0, -1).join(', ')} and ${words.at(-1) ?? ''}`;

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
