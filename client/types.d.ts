/**
 * The types of `backup-gateway/client`; docs/CLIENT.md shows how to use it.
 */

/** A document that knows its types: what the client preset of GraphQL Code Generator makes, or a plain text. */
export interface TypedDocument<Result, Variables> {
  toString(): string;
  __apiType?: ((variables: Variables) => Result) | undefined;
}

/** Variables, which may be left out where none is required, then options. */
export type Arguments<Variables, Options> = {} extends Variables
  ? [variables?: Variables, options?: Options]
  : [variables: Variables, options?: Options];

/** What a subscription yields: its one field. */
export type EventOf<Result> = Result[keyof Result];

export interface GatewayClientOptions {
  /** Where the gateway is: its endpoint, `/graphql` unless it has a path. A browser understands `/graphql` alone, too. */
  url: string;
  /**
   * The token, or who knows it: asked anew for each query and each connection. A supplier that fails fails the query; a
   * watch asks it again after a pause.
   */
  token: string | (() => string | Promise<string>);
  /** For a Node before 22, which has no WebSocket of its own: that of the package `ws`. */
  webSocketImpl?: unknown;
  /** Told when the socket that all watches share opens and closes. It is open only while something is watched. */
  onConnection?: (isConnected: boolean) => void;
}

export interface QueryOptions {
  /** Gives the query up. */
  signal?: AbortSignal;
}

export interface WatchOptions {
  /** Ends the watch at once, without an error. */
  signal?: AbortSignal;
  /** Told when everything up to the present has been handled: at first, and again after each lost connection. */
  onCaughtUp?: () => void;
  /**
   * Told when the connection is lost, and of each retry that fails, before the next one.
   * @param attempt the number of failures since something was last received
   */
  onLost?: (error: GatewayClientError, attempt: number) => void;
  /** How many retries in a row may fail before the watch throws; no limit unless set. */
  retries?: number;
  /** false: of a subscription without cursors, such as jobProgressed, which begins anew with each connection. */
  resume?: boolean;
}

export interface GatewayClient {
  /**
   * Runs a query or a mutation. Broken rules are no errors: they are members of a mutation's result union.
   * @throws GatewayClientError
   */
  query<Result = Record<string, unknown>, Variables = Record<string, unknown>>(
    document: TypedDocument<Result, Variables>, ...rest: Arguments<NoInfer<Variables>, QueryOptions>
  ): Promise<Result>;

  /**
   * Yields every event of a subscription once and in order, through as many connections as it takes, until the gateway
   * completes it. It begins after the variable `after`: a `feedCursor`, or the cursor of any event; without, at the present,
   * which is that of `onCaughtUp`: from then on nothing is missed.
   * The document must have the variable `$after` and select `cursor`.
   * @throws GatewayClientError at once, where the document cannot be resumed; while iterated, where the gateway refuses it
   */
  watch<Result = Record<string, unknown>, Variables = Record<string, unknown>>(
    document: TypedDocument<Result, Variables>, ...rest: Arguments<NoInfer<Variables>, WatchOptions>
  ): AsyncGenerator<EventOf<Result>, void>;

  /** Ends all watches, and with them the socket. */
  dispose(): void;
}

/** One error of an answer, as GraphQL has it. */
export interface GraphqlError {
  message: string;
  path?: readonly (string | number)[];
  extensions?: { code?: string; hint?: string };
}

/** What the gateway refuses, or that it cannot be reached. */
export class GatewayClientError extends Error {
  /**
   * The gateway's own: UNAUTHENTICATED, NOT_FOUND, CURSOR_EXPIRED, CURSOR_INVALID, …; or UNREACHABLE, URL_INVALID,
   * CURSOR_MISSING (the document cannot be resumed), UNKNOWN (an error without a code).
   */
  readonly code: string;
  /** All errors of the answer; none where there was no answer. */
  readonly errors: readonly GraphqlError[];
  constructor(code: string, message: string, details?: { cause?: unknown; errors?: readonly GraphqlError[] });
}

export type CreateGatewayClient = (options: GatewayClientOptions) => GatewayClient;

/** A client of one gateway. It connects when something is watched. @throws GatewayClientError with URL_INVALID */
export const createGatewayClient: CreateGatewayClient;
