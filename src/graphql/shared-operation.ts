/**
 * One operation that many subscribe to: each change is executed and written down once for all of them. One that cannot be
 * shared, such as with a fragment or a directive at its root, is the same for one alone.
 *
 * What makes two subscriptions the same operation: the document, the operation's name, the token, and the variables but for
 * those that only say what to watch (`id`, `after`), which the answer does not depend on.
 */
import { GraphQLError, Kind, visit, type DocumentNode, type ExecutionArgs, type ExecutionResult, type FieldNode, type OperationDefinitionNode } from 'graphql';
import type { TransitionRow } from '../records/rows.ts';
import { Loaders, type RequestContext } from './context.ts';
import { UNEXPECTED } from './errors.ts';

/** The root fields whose events are rows of the feed. */
const SHARED_FIELDS: ReadonlySet<string> = new Set(['backupStatusChanged', 'restoreStatusChanged', 'jobStatusChanged']);
/** For how long an answer serves for the same change: what it says of the record is what it is now. In milliseconds. */
const FRESH = 250;
/** With so many answers on their way it takes no more. */
const PENDING_LIMIT = 10_000;

export interface Operation extends Pick<ExecutionArgs, 'schema' | 'document' | 'operationName'> {
  variableValues?: Record<string, unknown> | null;
  contextValue: RequestContext;
}
/** Executes an operation on an event: of a stream of changes, a row of the feed. */
export type Execute = (args: Operation & { rootValue: unknown }) => ExecutionResult | PromiseLike<ExecutionResult>;

/** The answer to one change, as JSON, written down once for all. */
export class Answer {
  readonly json: Buffer;

  constructor(result: ExecutionResult) {
    this.json = Buffer.from(JSON.stringify(result));
  }
}

/** Who subscribes. */
export interface Subscriber { next(answer: Answer): void }
interface Delivery { answer: Answer | Promise<Answer> | null; done: (answer: Answer | null) => void }

export class SharedOperation {
  #subscribers = 0;
  readonly #operation: Operation;
  readonly #execute: Execute;
  readonly #onUnused: () => void;
  /** Those of the last moments, where more than one may ask. */
  #answers = new Map<TransitionRow, Answer | Promise<Answer>>();
  /** What waits for an answer, in its order. */
  #pending: Delivery[] = [];
  /** Of this turn of the event loop: its context, and the last change, which many are told one after the other. */
  #turn: { context: RequestContext; latest: { row: TransitionRow; answer: Answer } | null } | null = null;

  /** @param onUnused told when the last one has left */
  constructor(operation: Operation, execute: Execute, onUnused: () => void = () => undefined) {
    this.#operation = operation;
    this.#execute = execute;
    this.#onUnused = onUnused;
  }

  join(): void { this.#subscribers += 1; }

  leave(): void {
    this.#subscribers -= 1;
    if (this.#subscribers === 0) this.#onUnused();
  }

  /** Whether it takes no more for now. */
  get isBusy(): boolean { return this.#pending.length >= PENDING_LIMIT; }

  /** Gives the answer to a change, after those to the changes before it; at once where nothing has to be waited for. */
  deliver(row: TransitionRow, subscriber: Subscriber): void {
    const answer = this.#answerTo(row);
    if (answer instanceof Answer && this.#pending.length === 0) subscriber.next(answer);
    else this.#wait(answer, (late) => subscriber.next(late!));
  }

  /** Calls back once everything before has been given. */
  afterwards(callback: () => void): void {
    if (this.#pending.length === 0) callback();
    else this.#wait(null, callback);
  }

  #wait(answer: Delivery['answer'], done: Delivery['done']): void {
    this.#pending.push({ answer, done });
    if (this.#pending.length === 1) void this.#givePending();
  }

  async #givePending(): Promise<void> {
    for (let nth = 0; nth < this.#pending.length; nth += 1) {
      const { answer, done } = this.#pending[nth]!;
      done(answer instanceof Promise ? await answer : answer);
      // Long before it is empty, under a steady load.
      if (nth >= PENDING_LIMIT / 10) {
        this.#pending = this.#pending.slice(nth);
        nth = 0;
      }
    }
    this.#pending = [];
  }

  #answerTo(row: TransitionRow): Answer | Promise<Answer> {
    if (this.#turn?.latest?.row === row) return this.#turn.latest.answer;
    const known = this.#answers.get(row);
    if (known !== undefined) return known;
    const result = this.#resultOf(row);
    const answer = 'then' in result ? Promise.resolve(result).catch((error: unknown) => this.#failed(error)).then((late) => new Answer(late)) : new Answer(result);
    this.#keep(row, answer);
    return answer;
  }

  #resultOf(row: TransitionRow): ReturnType<Execute> {
    try {
      return this.#execute({ ...this.#operation, contextValue: this.#context(), rootValue: row });
    } catch (error) {
      return this.#failed(error);
    }
  }

  /** What fails is a part of the result, masked. Should anything else, the stream goes on all the same, and so do the others. */
  #failed(error: unknown): ExecutionResult {
    this.#operation.contextValue.log.error({ error }, 'a change could not be executed');
    return { errors: [new GraphQLError(UNEXPECTED)] };
  }

  #keep(row: TransitionRow, answer: Answer | Promise<Answer>): void {
    if (this.#turn !== null && answer instanceof Answer) this.#turn.latest = { row, answer };
    if (this.#subscribers < 2) return;
    // All go at once, not each by itself: there may be thousands.
    if (this.#answers.size === 0) setTimeout(() => { this.#answers = new Map(); }, FRESH).unref();
    if (this.#answers.size < PENDING_LIMIT) this.#answers.set(row, answer);
  }

  /** Changes that come together are looked up together; those of the next turn are read anew. */
  #context(): RequestContext {
    if (this.#turn === null) {
      const { contextValue } = this.#operation;
      // Whoever was first may have gone.
      this.#turn = { context: { ...contextValue, loaders: new Loaders(contextValue.db), isAbandoned: () => false }, latest: null };
      setImmediate(() => { this.#turn = null; });
    }
    return this.#turn.context;
  }
}

/** The operations that somebody subscribes to, by document, and then by the rest. */
const operations = new WeakMap<DocumentNode, Map<string, SharedOperation>>();

/** The operation to subscribe to, one of its own where it cannot be shared. To be left when the subscription ends. */
export function joinOperation(operation: Operation, execute: Execute): SharedOperation {
  const { document, operationName, variableValues, contextValue: { principal } } = operation;
  const filters = filterVariables(document);
  if (filters === null) {
    const own = new SharedOperation(operation, execute);
    own.join();
    return own;
  }
  const rest = Object.entries(variableValues ?? {}).filter(([name]) => !filters.has(name)).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const key = JSON.stringify([principal.tokenId, operationName ?? null, rest]);
  const alike = operations.get(document) ?? new Map<string, SharedOperation>();
  operations.set(document, alike);
  const shared = alike.get(key) ?? new SharedOperation(operation, execute, () => alike.delete(key));
  alike.set(key, shared);
  shared.join();
  return shared;
}

const analysed = new WeakMap<DocumentNode, ReadonlySet<string> | null>();

/** Names of the variables that only say what to watch; null: the document is not one subscription of a shared field in plain form, and is not shared. */
function filterVariables(document: DocumentNode): ReadonlySet<string> | null {
  const known = analysed.get(document);
  if (known !== undefined) return known;
  const names = readFilterVariables(document);
  analysed.set(document, names);
  return names;
}

function readFilterVariables(document: DocumentNode): ReadonlySet<string> | null {
  const subscriptions = document.definitions.filter((definition): definition is OperationDefinitionNode => definition.kind === Kind.OPERATION_DEFINITION);
  const root = subscriptions.length === 1 ? rootField(subscriptions[0]!) : null;
  if (root === null) return null;
  const names = new Set<string>();
  for (const { value } of root.arguments ?? []) if (value.kind === Kind.VARIABLE) names.add(value.name.value);
  const skipped = new Set<unknown>([...root.arguments ?? [], ...subscriptions[0]!.variableDefinitions ?? []]);
  visit(document, {
    enter: (node) => (skipped.has(node) ? false : undefined),
    // It says something else as well.
    Variable: { enter: ({ name }) => void names.delete(name.value) },
  });
  return names;
}

/** The one field of a subscription, in plain form. */
function rootField({ selectionSet: { selections }, directives }: OperationDefinitionNode): FieldNode | null {
  const [field] = selections;
  const isPlain = selections.length === 1 && (directives?.length ?? 0) === 0 && field?.kind === Kind.FIELD && (field.directives?.length ?? 0) === 0;
  return isPlain && SHARED_FIELDS.has(field.name.value) ? field : null;
}
