/**
 * Pushes the changes of a subscription straight to a transport that can have them so: each is executed once for all who
 * subscribe to the same, and no promise stands between a change and the sending of it.
 */
import { createSourceEventStream, execute, getOperationAST, OperationTypeNode, type ExecutionArgs, type ExecutionResult } from 'graphql';
import type { Plugin } from 'graphql-yoga';
import { joinOperation, type Answer, type Execute, type Operation, type SharedOperation, type Subscriber } from '../graphql/shared-operation.ts';
import { ChangeStream } from '../graphql/status-changes.ts';

/** How soon an operation that takes no more is tried again, in milliseconds. */
const RETRY = 50;
/** How many changes of one subscription are looked up at once: nobody knows how much room their answers take. */
const UNDER_WAY = 200;

/** One subscription of a transport. */
export interface PushChannel {
  /** Executes an operation as the transport's own are: with every guard. */
  readonly execute: Execute;
  /** Sends the answer to an event. */
  next(answer: Answer): void;
  /**
   * Tells that everything up to the present has been sent, and the cursor of that; again now and then while nothing comes.
   * @param cursor of none where there are no cursors
   */
  live(cursor?: string): void;
  /** Whether it takes no more for now. If so, it calls back once it does again. */
  isFull(onRoom: () => void): boolean;
  /** Executes when there is room for the answer, and no more at once than the transport's operations. */
  inTurn<Answer>(run: () => Answer | PromiseLike<Answer>): Promise<Answer>;
}

type ContextWithChannel = Operation['contextValue'] & { channel?: PushChannel };

/** Replaces the execution of subscriptions where the transport has a channel for them. */
export const pushChanges: Plugin<ContextWithChannel> = {
  onExecute({ args, setExecuteFn }) {
    // Of a subscription only an event is executed; Yoga's own executor would subscribe once more.
    if (args.contextValue.channel !== undefined && getOperationAST(args.document, args.operationName)?.operation === OperationTypeNode.SUBSCRIPTION) setExecuteFn(execute);
  },
  onSubscribe({ args: { contextValue: { channel } }, setSubscribeFn }) {
    if (channel === undefined) return;
    setSubscribeFn(async (args: ExecutionArgs) => {
      const stream = await createSourceEventStream(args);
      if (stream instanceof ChangeStream) return pushed(stream, joinOperation(args as Operation, pastGuards(channel.execute)), channel);
      return Symbol.asyncIterator in stream ? pulled(stream as AsyncIterableIterator<unknown>, args as Operation, channel) : stream;
    });
  },
};

/**
 * Executes without the plugins, which takes half the time: they looked at the operation when it was subscribed to, and of a
 * result only errors concern them. For those it is executed once more, guarded.
 */
function pastGuards(guarded: Execute): Execute {
  return (args) => {
    const judge = (result: ExecutionResult) => (result.errors === undefined ? result : guarded(args));
    const result = execute(args);
    return 'then' in result ? result.then(judge) : judge(result);
  };
}

/** What stands for the stream: it has no events of its own, and ends with the stream. */
function pushed(stream: ChangeStream, shared: SharedOperation, channel: PushChannel): AsyncIterableIterator<ExecutionResult> {
  const over = Promise.withResolvers<IteratorResult<ExecutionResult>>();
  // Nobody may be waiting for it.
  over.promise.catch(() => undefined);
  let isOver = false;
  const end = (error: unknown) => {
    if (!isOver) shared.leave();
    isOver = true;
    if (error === null) over.resolve({ done: true, value: undefined });
    else over.reject(error as Error);
  };
  let underWay = 0;
  /** Whether it waits until those under way have been answered. */
  let isHeld = false;
  const subscriber: Subscriber = {
    next(answer) {
      underWay -= 1;
      // What is still on its way when a client completes must not reach a later operation with the same id.
      if (!isOver) channel.next(answer);
      if (!isHeld || underWay > 0) return;
      isHeld = false;
      resume();
    },
  };
  const resume = () => following.resume();
  const following: ReturnType<ChangeStream['push']> = stream.push({
    // One event more than there is room for does no harm; that it is missing would.
    begin(present) {
      underWay += 1;
      shared.deliver(present, subscriber);
    },
    take(change) {
      if (shared.isBusy) {
        setTimeout(resume, RETRY);
        return false;
      }
      if (channel.isFull(resume)) return false;
      if (underWay >= UNDER_WAY) {
        isHeld = true;
        return false;
      }
      underWay += 1;
      shared.deliver(change, subscriber);
      return true;
    },
    live: (position) => shared.afterwards(() => {
      if (!isOver) channel.live(stream.cursorAt(position));
    }),
    end: (error) => shared.afterwards(() => end(error)),
  });
  const stop = async (): Promise<IteratorResult<ExecutionResult>> => {
    following.stop();
    end(null);
    return { done: true, value: undefined };
  };
  return { [Symbol.asyncIterator]() { return this; }, next: () => over.promise, return: stop, throw: stop };
}

/** A stream without cursors, whose first event states the present: each event is looked at when the one before has been sent. */
function pulled(stream: AsyncIterableIterator<unknown>, operation: Operation, channel: PushChannel): AsyncIterableIterator<ExecutionResult> {
  let asked = 0;
  return {
    [Symbol.asyncIterator]() { return this; },
    async next() {
      asked += 1;
      if (asked === 2) channel.live();
      const event = await stream.next();
      if (event.done === true) return { done: true, value: undefined };
      return { done: false, value: await channel.inTurn(() => channel.execute({ ...operation, rootValue: event.value })) };
    },
    async return() { return await stream.return!() as IteratorReturnResult<undefined>; },
    async throw(error: unknown) { return await stream.throw!(error) as IteratorReturnResult<undefined>; },
  };
}
