/**
 * A client of the gateway for browsers and Node: docs/CLIENT.md.
 *
 * Plain JavaScript, because this very file is what the package exports: Node strips no types below node_modules. Its types
 * stand in types.d.ts, and `npm run typecheck` holds the two together.
 *
 * @import { CreateGatewayClient, GraphqlError, WatchOptions } from './types.js'
 */
import { createClient } from 'graphql-ws/client';

/** How often the connection is proved alive, in milliseconds: a socket alone does not notice that nobody is there. */
const KEEP_ALIVE = 10_000;
/** How long the proof, or a new connection, may take. */
const PATIENCE = 5_000;
/** The longest pause before the first retry, which doubles with each that fails, and the longest of all. */
const [FIRST_PAUSE, LONGEST_PAUSE] = [100, 10_000];
/** Close codes by which a gateway refuses what this client sends. https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md */
const REFUSALS = [4400, 4401, 4406, 4409, 4429];
/** How many events may wait for a slow reader, and how many cursors are remembered to know a repeat by. */
const LIMIT = 2_000;

export class GatewayClientError extends Error {
  /** @override */
  name = 'GatewayClientError';

  /** @param {string} code @param {string} message @param {{ cause?: unknown, errors?: readonly GraphqlError[] }} [details] */
  constructor(code, message, { cause, errors = [] } = {}) {
    super(message, { cause });
    this.code = code;
    this.errors = errors;
  }
}

/** @param {readonly GraphqlError[]} errors */
const refused = (errors) => new GatewayClientError(errors[0]?.extensions?.code ?? 'UNKNOWN', errors.map(({ message }) => message).join('\n'), { errors });

/** @param {string} text @param {any} cause an error, or the event of a socket */
const unreachable = (text, cause) =>
  new GatewayClientError('UNREACHABLE', `${text} (${[cause?.code ?? cause?.cause?.code, cause?.reason || cause?.message].filter(Boolean).join(' ') || 'no reason given'}).`, { cause });

/** @param {string} url */
function endpointOf(url) {
  try {
    const endpoint = new URL(url, globalThis.location?.href);
    if (endpoint.pathname === '/') endpoint.pathname = '/graphql';
    if (/^https?:$/.test(endpoint.protocol)) {
      // A browser would refuse it without a word to us, except to its own machine.
      if (endpoint.protocol === 'http:' && globalThis.location?.protocol === 'https:' && !/^(localhost|127\..*|\[::1])$/.test(endpoint.hostname)) {
        throw new GatewayClientError('URL_INVALID', `A page of https: cannot reach ${endpoint.origin}. Give an address of the gateway with https:.`);
      }
      return endpoint.href;
    }
  } catch (error) {
    if (error instanceof GatewayClientError) throw error;
    // Told below.
  }
  throw new GatewayClientError('URL_INVALID', `"${url}" is not the address of a gateway. Give one such as https://backups.example.org/graphql.`);
}

/** @type {CreateGatewayClient} */
export function createGatewayClient({ url, token, webSocketImpl, onConnection }) {
  const endpoint = endpointOf(url);
  const authorize = async () => `Bearer ${typeof token === 'function' ? await token() : token}`;
  /** @type {Promise<string>} */
  let authorization;
  /**
   * A token for the connection that comes next, had before graphql-ws is asked for one: it would open a socket in vain.
   * @type {Promise<string> | undefined}
   */
  let supplied;
  let [asked, lastId, isConnecting, isConnected, isClosing, isDisposed] = [0, 0, false, false, false, false];
  /**
   * What is subscribed to, by the ids of graphql-ws.
   * @type {Map<string, { onLive: (cursor: unknown) => void, onLost: (cause: unknown) => void }>}
   */
  const subscriptions = new Map();
  /** @type {Set<() => void>} */
  const stops = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let alarm;
  const setAlarm = () => {
    clearTimeout(alarm);
    alarm = setTimeout(() => socket.terminate(), PATIENCE);
  };
  /** @param {boolean} is */
  const setConnected = (is) => {
    clearTimeout(alarm);
    // Later, since what it throws would count as a bad answer of the gateway.
    if (is !== isConnected) queueMicrotask(() => onConnection?.(is));
    isConnected = is;
    isConnecting = false;
    isClosing = false;
  };

  /** @type {any} */
  const Socket = webSocketImpl ?? globalThis.WebSocket;
  /** graphql-ws does not expect a constructor to throw: one that does is a connection that was closed at once. @param {any} Impl @param {any[]} rest */
  const open = (Impl, rest) => {
    try {
      return new Impl(...rest);
    } catch (/** @type {any} */ error) {
      /** @type {any} */
      const closed = { close() {} };
      queueMicrotask(() => closed.onclose({ code: 1006, reason: error.message }));
      return closed;
    }
  };

  const socket = createClient({
    // The token is had before the socket opens, which then has only three seconds to bring it.
    async url() {
      asked += 1;
      isConnecting = true;
      authorization = supplied ?? authorize();
      supplied = undefined;
      await authorization.catch(() => undefined);
      setAlarm();
      return endpoint.replace(/^http/, 'ws');
    },
    connectionParams: async () => ({ authorization: await authorization }),
    webSocketImpl: Socket && new Proxy(Socket, { construct: open }),
    keepAlive: KEEP_ALIVE,
    // Its own retries would know nothing of what was read meanwhile.
    retryAttempts: 0,
    generateID: () => String(lastId += 1),
    on: {
      connected: () => setConnected(true),
      closed(event) {
        // Closed thus by others, graphql-ws would connect again at once, and again; that it does so after its own close is well.
        if (/** @type {CloseEvent} */ (event).code === 1000 && !isClosing) subscriptions.forEach(({ onLost }) => onLost(event));
        setConnected(false);
      },
      ping(isReceived, payload) {
        if (isReceived) subscriptions.get(String(payload?.['live']))?.onLive(payload?.['cursor']);
        else setAlarm();
      },
      pong(isReceived) {
        if (isReceived) clearTimeout(alarm);
      },
    },
  });

  /** @param {string} query @param {any} variables @param {WatchOptions} options @returns {AsyncGenerator<any, void>} */
  function watch(query, variables, { signal, resume = true, retries = Infinity, onCaughtUp, onLost }) {
    if (resume && !(/\$after\b/.test(query) && /\bcursor\b/.test(query))) throw cursorMissing();
    let isOver = false;
    let wake = () => {};
    let unsubscribe = () => {};
    const stop = () => {
      isOver = true;
      // A reader that is busy, or never asks again, holds no subscription.
      unsubscribe();
      wake();
    };
    /** @param {number} [limit] @returns {Promise<void>} */
    const sleep = (limit) => new Promise((resolve) => {
      const timer = limit === undefined ? undefined : setTimeout(resolve, limit);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (isOver) wake();
    });

    async function* run() {
      const seen = new Set();
      let cursor = variables.after;
      let failures = 0;
      isOver = isDisposed || signal?.aborted === true;
      stops.add(stop);
      signal?.addEventListener('abort', stop);
      try {
        while (!isOver) {
          /** @type {{ result?: any, cause?: any, isLive?: boolean, cursor?: any, asked?: number }[]} */
          const queue = [];
          /** @param {(typeof queue)[number]} item */
          const push = (item) => {
            queue.push(item);
            wake();
          };
          const askedBefore = asked;
          let [isFull, isCaughtUp] = [false, false];
          unsubscribe = () => {};
          const refusal = isConnected || isConnecting ? undefined
            // Whoever ends the watch does not wait for the supplier.
            : await Promise.race([(supplied ??= authorize()).then(() => undefined, (cause) => ({ cause })), sleep()]);
          if (isOver) {
            // Whoever watches later must not be given a token that has become old meanwhile.
            supplied = undefined;
            return;
          }
          if (refusal) {
            supplied = undefined;
            push(refusal);
          }
          const complete = refusal ? () => {} : socket.subscribe({
            // Read when it is sent.
            query, variables: resume ? { ...variables, get after() { return cursor; } } : variables,
          }, {
            next(result) {
              push({ result });
              if (!resume || queue.length < LIMIT) return;
              isFull = true;
              unsubscribe();
            },
            error: (cause) => push({ cause, asked }),
            complete: () => push({}),
          });
          // Of none, where nothing was subscribed to.
          const id = refusal ? '' : String(lastId);
          unsubscribe = () => {
            complete();
            subscriptions.delete(id);
            isClosing = subscriptions.size === 0;
          };
          subscriptions.set(id, {
            onLive: (reached) => push({ isLive: true, cursor: reached }),
            onLost(cause) {
              push({ cause });
              complete();
            },
          });

          let failure;
          try {
            for (;;) {
              if (isOver) return;
              const item = queue.shift();
              if (item === undefined) {
                await sleep();
              } else if (item.isLive) {
                failures = 0;
                // All before it has been handled. It is told again where nothing comes for long, so that it does not grow old.
                cursor = item.cursor ?? cursor;
                if (!isCaughtUp) onCaughtUp?.();
                isCaughtUp = true;
              } else if (item.result?.errors ?? item.cause) {
                failure = item;
                break;
              } else if (item.result) {
                const [event] = /** @type {any[]} */ (Object.values(item.result.data ?? {}));
                if (resume) {
                  if (typeof event?.cursor !== 'string') throw cursorMissing();
                  if (seen.has(event.cursor)) continue;
                  cursor = event.cursor;
                  seen.add(cursor);
                  if (seen.size > LIMIT) seen.delete(seen.values().next().value);
                }
                failures = 0;
                yield event;
              } else if (isFull) {
                break;
              } else {
                return;
              }
            }
          } finally {
            unsubscribe();
          }
          if (failure === undefined) continue;

          const { result, cause } = failure;
          const errors = result?.errors ?? cause;
          const error = Array.isArray(errors) ? refused(errors) : unreachable('There is no connection to the gateway', cause);
          // The token of a connection that was there before may have become old; that of a new one has just been asked for.
          if (error.code === 'UNAUTHENTICATED' && typeof token === 'function' && failure.asked === askedBefore) {
            socket.terminate();
            continue;
          }
          // The gateway's database may be away: what it could not answer is asked for again.
          const isPassing = error.code === 'INTERNAL_SERVER_ERROR' || (error.code === 'UNREACHABLE' && !REFUSALS.includes(cause.code));
          failures += 1;
          if (!isPassing || failures > retries) throw error;
          onLost?.(error, failures);
          await sleep(Math.min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE) * Math.random());
        }
      } finally {
        stops.delete(stop);
        signal?.removeEventListener('abort', stop);
      }
    }

    const events = run();
    // A generator that waits would be ended only by the next event.
    const end = events.return.bind(events);
    events.return = (value) => {
      stop();
      return end(value);
    };
    return events;
  }

  return {
    async query(document, ...[variables, { signal } = {}]) {
      let response;
      let answer;
      const body = JSON.stringify({ query: String(document), variables });
      const headers = { authorization: await authorize(), 'content-type': 'application/json' };
      try {
        response = await fetch(endpoint, { method: 'POST', headers, body, signal });
        answer = await response.json();
      } catch (error) {
        if (signal?.aborted) throw error;
        throw unreachable(`No gateway answers at ${endpoint}`, response === undefined || response.ok ? error : { code: response.status, message: response.statusText });
      }
      if (answer.errors) throw refused(answer.errors);
      if (!answer.data) throw unreachable(`No gateway answers at ${endpoint}`, { code: response.status, message: 'the answer holds no data' });
      return answer.data;
    },

    watch: (document, ...[variables, options]) => watch(String(document), variables ?? {}, options ?? {}),

    dispose() {
      isDisposed = true;
      for (const stop of stops) stop();
    },
  };
}

const cursorMissing = () => new GatewayClientError('CURSOR_MISSING', [
  'What is watched must be taken up after its last cursor when the connection is lost: declare the variable $after: String, pass it as `after`, and select `cursor`',
  'under that name. For a subscription without cursors, such as jobProgressed, set `resume: false`.',
].join(' '));
