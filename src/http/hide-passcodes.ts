/**
 * Keeps passcodes out of error messages. GraphQL's own errors quote what they refuse, the whole input at worst, and an
 * error ends in a client's log, a bug report or a screen.
 */
import { GraphQLError, visit, type ASTNode, type DocumentNode } from 'graphql';
import type { Plugin } from 'graphql-yoga';

/** A field, argument or variable of such a name holds a passcode, or what a client takes for one. */
const SECRET_NAME = /pass|secret/i;
/** The same in a document that cannot be read; a field such as `requiresPasscode` is asked for, not given. */
const SECRET_WORD = /\b(pass|secret)/i;
/** Shorter values are no passcodes (2003), and would be found everywhere. */
const SHORTEST = 4;
const HIDDEN = '[hidden]';

/** Every text or number in a value, the names of fields included where all of it is secret. */
function leavesOf(value: unknown): string[] {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint') return [String(value)];
  return typeof value === 'object' && value !== null ? Object.entries(value).flatMap(([name, inner]) => [name, ...leavesOf(inner)]) : [];
}

function secretsOfVariables(value: unknown, isSecret: (name: string) => boolean): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => (isSecret(name) ? leavesOf(inner) : secretsOfVariables(inner, isSecret)));
}

/** The literals that a document gives to secret fields, and the names of the variables. */
function secretsOfDocument(document: DocumentNode): { literals: string[]; variables: Set<string> } {
  const literals: string[] = [];
  const variables = new Set<string>();
  const take = (node: ASTNode) => void visit(node, {
    enter(inner) {
      if (inner.kind === 'Variable') variables.add(inner.name.value);
      else if ('value' in inner && typeof inner.value === 'string') literals.push(inner.value);
      else if (inner.kind === 'ObjectField') literals.push(inner.name.value);
    },
  });
  const look = (node: { name: { value: string }; value: ASTNode }) => { if (SECRET_NAME.test(node.name.value)) take(node.value); };
  visit(document, {
    Argument: look,
    ObjectField: look,
    VariableDefinition({ variable, defaultValue }) {
      if (!SECRET_NAME.test(variable.name.value)) return;
      variables.add(variable.name.value);
      if (defaultValue !== undefined) take(defaultValue);
    },
  });
  return { literals, variables };
}

/** The secrets of a request, each in the forms in which a message may quote it, the longest first. */
function secretsOf(document: DocumentNode, values: unknown): string[] {
  const { literals, variables } = secretsOfDocument(document);
  const secrets = [...literals, ...secretsOfVariables(values, (name) => SECRET_NAME.test(name) || variables.has(name))];
  const forms = secrets.filter((secret) => secret.length >= SHORTEST).flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)]);
  return [...new Set(forms)].toSorted((a, b) => b.length - a.length);
}

function hide(error: GraphQLError, secrets: readonly string[]): GraphQLError {
  const message = secrets.reduce((text, secret) => text.replaceAll(secret, HIDDEN), error.message);
  // An error of the program's own is put into other words after this.
  if (message === error.message || (error.originalError !== undefined && !(error.originalError instanceof GraphQLError))) return error;
  const { nodes, source, positions, path, extensions } = error;
  return new GraphQLError(message, { nodes, source, positions, path, extensions });
}

/** Where a document cannot be read, what stands there may be part of a passcode: only the place is told. */
function hideSyntax(error: GraphQLError): GraphQLError {
  const { source, positions, extensions } = error;
  const message = 'Syntax Error: The document cannot be read at this place. What stands there is not repeated, since the document holds a passcode; send it as a variable.';
  return new GraphQLError(message, { source, positions, extensions });
}

type Results = { errors?: readonly GraphQLError[] };
const hideResults = (result: unknown, args: { document: DocumentNode; variableValues?: unknown }): Results | null => {
  const { errors } = result as Results;
  if (errors === undefined || errors.length === 0) return null;
  const secrets = secretsOf(args.document, args.variableValues);
  return secrets.length === 0 ? null : { ...result as Results, errors: errors.map((error) => hide(error, secrets)) };
};

export const hidePasscodes: Plugin = {
  onParse: ({ params: { source } }) => ({ result, replaceParseResult }) => {
    if (result instanceof GraphQLError && SECRET_WORD.test(typeof source === 'string' ? source : source.body)) replaceParseResult(hideSyntax(result));
  },
  onValidate: ({ params: { documentAST } }) => ({ valid, result, setResult }) => {
    if (!valid) setResult((result as GraphQLError[]).map((error) => hide(error, secretsOf(documentAST, {}))));
  },
  onExecute: ({ args }) => ({
    onExecuteDone({ result, setResult }) {
      const hidden = hideResults(result, args);
      if (hidden !== null) setResult(hidden);
    },
  }),
  onSubscribe: ({ args }) => ({
    onSubscribeResult({ result, setResult }) {
      const hidden = hideResults(result, args);
      if (hidden !== null) setResult(hidden);
    },
  }),
  // Of a body that is no JSON, Node's error quotes the piece around the fault.
  onResultProcess({ result }) {
    for (const one of Array.isArray(result) ? result : [result]) {
      for (const error of (one as Results).errors ?? []) {
        if (error.extensions['originalError'] !== undefined) delete error.extensions['originalError'];
      }
    }
  },
};
