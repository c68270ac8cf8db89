/**
 * Executes GraphQL for both transports: what is a plugin here guards HTTP and the socket alike.
 */
import { GraphQLError } from 'graphql';
import { createYoga, type Plugin, type YogaServerInstance } from 'graphql-yoga';
import { requestContext, type GatewayServices, type Principal, type RequestContext } from '../graphql/context.ts';
import { maskError } from '../graphql/errors.ts';
import { schema } from '../graphql/schema.ts';

/** What a transport hands over with each request. */
export interface TransportContext { principal: Principal }
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

const nulError = () => new GraphQLError('A text holds the character NUL, which cannot be kept. Leave it out.', { extensions: { code: 'BAD_USER_INPUT' } });

function carriesNul({ document, variableValues }: { document: { loc?: { source: { body: string } } }; variableValues?: unknown }): boolean {
  return hasNul(variableValues) || /\\u(0000|\{0+\})/.test(document.loc?.source.body ?? '');
}

export function createGatewayYoga(services: GatewayServices): GatewayYoga {
  const { log } = services;
  return createYoga<TransportContext, RequestContext>({
    schema,
    graphqlEndpoint: '/graphql',
    context: ({ principal }) => requestContext(services, principal),
    plugins: [refuseNul],
    maskedErrors: {
      errorMessage: 'Something went wrong in the gateway; its log says more.',
      maskError,
    },
    // GraphiQL is served by `server.ts`, from the package itself.
    graphiql: false,
    landingPage: false,
    logging: {
      debug: (...args: unknown[]) => log.debug({ args }, 'yoga'),
      info: (...args: unknown[]) => log.debug({ args }, 'yoga'),
      warn: (...args: unknown[]) => log.warn({ args }, 'yoga'),
      error: (...args: unknown[]) => log.error({ error: args[0] }, 'a request failed'),
    },
  });
}
