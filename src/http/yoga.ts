/**
 * Executes GraphQL for both transports: what is a plugin here guards HTTP and the socket alike.
 */
import { GraphQLError, visit, type DocumentNode } from 'graphql';
import { createYoga, type Plugin, type YogaServerInstance } from 'graphql-yoga';
import { GatewayError } from '../domain/errors.ts';
import { requestContext, type GatewayServices, type Principal, type RequestContext } from '../graphql/context.ts';
import { maskError, UNEXPECTED } from '../graphql/errors.ts';
import { schema } from '../graphql/schema.ts';
import { feedStateOf } from '../graphql/status-changes.ts';
import { hidePasscodes } from './hide-passcodes.ts';
import { pushChanges, type PushChannel } from './push-changes.ts';

/** What a transport hands over with each request. */
export interface TransportContext {
  principal: Principal;
  /** Whether the client has gone away, or no longer wants the answer. */
  isAbandoned: () => boolean;
  /** Of a subscription that the transport can have pushed. */
  channel?: PushChannel;
}
export type GatewayYoga = YogaServerInstance<TransportContext, RequestContext>;

const hasNul = (value: unknown): boolean => (typeof value === 'string' ? value.includes('\0')
  : typeof value === 'object' && value !== null && Object.values(value).some(hasNul));

/** Postgres can keep no NUL in a text: refused here, once, instead of in every query. */
const refuseNul: Plugin = {
  onExecute: ({ args, setResultAndStopExecution }) => {
    if (carriesNul(args)) setResultAndStopExecution({ errors: [nulError()] });
  },
  onSubscribe: ({ args, setResultAndStopExecution }) => {
    if (carriesNul(args)) setResultAndStopExecution({ errors: [nulError()] });
  },
};

/**
 * A list and feedCursor that are asked for together are read by two statements. The cursor's comes first, and the
 * list's only then: a change between the two is replayed, where otherwise it would be in neither.
 */
const readFeedCursorFirst: Plugin<RequestContext> = {
  // No promise for whom it does not concern.
  onExecute({ args: { document, contextValue } }) {
    // A failure is kept too, and belongs to the field.
    return asksForFeedCursor(document as DocumentNode) ? feedStateOf(contextValue).then(() => undefined, () => undefined) : undefined;
  },
};

const asksForFeedCursor = (document: DocumentNode): boolean => /\bfeedCursor\b/.test(document.loc?.source.body ?? '');

const nulError = () => new GraphQLError('A text holds the character NUL, which cannot be kept. Leave it out.', { extensions: { code: 'BAD_USER_INPUT' } });

function carriesNul({ document, variableValues }: { document: DocumentNode; variableValues?: unknown }): boolean {
  return hasNul(variableValues) || (/\\u(0000|\{0+\})/.test(document.loc?.source.body ?? '') && hasNulLiteral(document));
}

/** Whether what looks like an escape is one: it could follow a backslash, or stand in a block string. */
function hasNulLiteral(document: DocumentNode): boolean {
  let found = false;
  visit(document, { StringValue: ({ value }) => { found ||= hasNul(value); } });
  return found;
}

/** Variables in an address that are no JSON. Node's error quotes the piece around the fault, which may be of a passcode. */
const isNoJson = (error: unknown): boolean => error instanceof SyntaxError;
/** A stream that ends because of its cursor: its client is told, and there may be thousands of them at once. */
const isOfCursor = (error: unknown): boolean => error instanceof GatewayError && error.code.startsWith('CURSOR_');
const notJson = () => new GraphQLError('The variables or extensions of the request are no JSON.', { extensions: { code: 'BAD_REQUEST', http: { status: 400 } } });

export function createGatewayYoga(services: GatewayServices): GatewayYoga {
  const { log } = services;
  return createYoga<TransportContext, RequestContext>({
    schema,
    graphqlEndpoint: '/graphql',
    context: ({ principal, isAbandoned }) => requestContext(services, principal, isAbandoned),
    plugins: [hidePasscodes, refuseNul, readFeedCursorFirst, pushChanges],
    maskedErrors: {
      errorMessage: UNEXPECTED,
      maskError: (error, message, isDev) => (isNoJson(error) ? notJson() : maskError(error, message, isDev)),
    },
    // GraphiQL is served by `server.ts`, from the package itself.
    graphiql: false,
    landingPage: false,
    logging: {
      debug: (...args: unknown[]) => log.debug({ args }, 'yoga'),
      info: (...args: unknown[]) => log.debug({ args }, 'yoga'),
      warn: (...args: unknown[]) => log.warn({ args }, 'yoga'),
      error: (...args: unknown[]) => {
        if (!isNoJson(args[0]) && !isOfCursor(args[0])) log.error({ error: args[0] }, 'a request failed');
      },
    },
  });
}
