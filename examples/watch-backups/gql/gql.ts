/* eslint-disable */
import * as types from './graphql.ts';



/**
 * Map of all GraphQL operations in the project.
 *
 * This map has several performance disadvantages:
 * 1. It is not tree-shakeable, so it will include all operations in the project.
 * 2. It is not minifiable, so the string of a GraphQL query will be multiple times inside the bundle.
 * 3. It does not support dead code elimination, so it will add unused operations.
 *
 * Therefore it is highly recommended to use the babel or swc plugin for production.
 * Learn more about it here: https://the-guild.dev/graphql/codegen/plugins/presets/preset-client#reducing-bundle-size
 */
type Documents = {
    "query List { feedCursor backups(first: 5) { totalCount nodes { name status sizeOnDisk } } }": typeof types.ListDocument,
    "mutation Create($input: CreateBackupInput!) {\n  createBackup(input: $input) {\n    __typename\n    ... on CreateBackupPayload { backup { id name } job { id } }\n    ... on RuleViolations { violations { rule code message } }\n  }\n}": typeof types.CreateDocument,
    "subscription Status($id: ID!, $after: String) {\n  backupStatusChanged(id: $id, after: $after) { cursor to backup { sizeOnDisk contentFilePath job { error } } }\n}": typeof types.StatusDocument,
    "subscription Progress($id: ID!) { jobProgressed(id: $id) { progress { percent bytesDone bytesTotal } } }": typeof types.ProgressDocument,
};
const documents: Documents = {
    "query List { feedCursor backups(first: 5) { totalCount nodes { name status sizeOnDisk } } }": types.ListDocument,
    "mutation Create($input: CreateBackupInput!) {\n  createBackup(input: $input) {\n    __typename\n    ... on CreateBackupPayload { backup { id name } job { id } }\n    ... on RuleViolations { violations { rule code message } }\n  }\n}": types.CreateDocument,
    "subscription Status($id: ID!, $after: String) {\n  backupStatusChanged(id: $id, after: $after) { cursor to backup { sizeOnDisk contentFilePath job { error } } }\n}": types.StatusDocument,
    "subscription Progress($id: ID!) { jobProgressed(id: $id) { progress { percent bytesDone bytesTotal } } }": types.ProgressDocument,
};

/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "query List { feedCursor backups(first: 5) { totalCount nodes { name status sizeOnDisk } } }"): typeof import('./graphql.ts').ListDocument;
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "mutation Create($input: CreateBackupInput!) {\n  createBackup(input: $input) {\n    __typename\n    ... on CreateBackupPayload { backup { id name } job { id } }\n    ... on RuleViolations { violations { rule code message } }\n  }\n}"): typeof import('./graphql.ts').CreateDocument;
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "subscription Status($id: ID!, $after: String) {\n  backupStatusChanged(id: $id, after: $after) { cursor to backup { sizeOnDisk contentFilePath job { error } } }\n}"): typeof import('./graphql.ts').StatusDocument;
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "subscription Progress($id: ID!) { jobProgressed(id: $id) { progress { percent bytesDone bytesTotal } } }"): typeof import('./graphql.ts').ProgressDocument;


export function graphql(source: string) {
  return (documents as any)[source] ?? {};
}
