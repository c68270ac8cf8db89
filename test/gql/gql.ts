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
    "subscription Watch { backupStatusChanged { backupName from to } }": typeof types.WatchDocument,
    "mutation Create($input: CreateBackupInput!) { createBackup(input: $input) {\n  __typename ... on CreateBackupPayload { backup { id } } ... on RuleViolations { violations { rule } } } }": typeof types.CreateDocument,
    "query BackupById($id: ID!) { backup(id: $id) { status sizeOnDisk contentFilePath isValid job { status error } } }": typeof types.BackupByIdDocument,
    "mutation CreateRestore($input: CreateRestoreInput!) { createRestore(input: $input) {\n  __typename ... on CreateRestorePayload { restore { id } } ... on RuleViolations { violations { rule } } } }": typeof types.CreateRestoreDocument,
    "mutation StartRestore($id: ID!) { updateRestore(input: { id: $id, status: REQUESTING }) { __typename } }": typeof types.StartRestoreDocument,
    "query RestoreById($id: ID!) { restore(id: $id) { status job { error } } }": typeof types.RestoreByIdDocument,
};
const documents: Documents = {
    "subscription Watch { backupStatusChanged { backupName from to } }": types.WatchDocument,
    "mutation Create($input: CreateBackupInput!) { createBackup(input: $input) {\n  __typename ... on CreateBackupPayload { backup { id } } ... on RuleViolations { violations { rule } } } }": types.CreateDocument,
    "query BackupById($id: ID!) { backup(id: $id) { status sizeOnDisk contentFilePath isValid job { status error } } }": types.BackupByIdDocument,
    "mutation CreateRestore($input: CreateRestoreInput!) { createRestore(input: $input) {\n  __typename ... on CreateRestorePayload { restore { id } } ... on RuleViolations { violations { rule } } } }": types.CreateRestoreDocument,
    "mutation StartRestore($id: ID!) { updateRestore(input: { id: $id, status: REQUESTING }) { __typename } }": types.StartRestoreDocument,
    "query RestoreById($id: ID!) { restore(id: $id) { status job { error } } }": types.RestoreByIdDocument,
};

/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "subscription Watch { backupStatusChanged { backupName from to } }"): typeof import('./graphql.ts').WatchDocument;
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "mutation Create($input: CreateBackupInput!) { createBackup(input: $input) {\n  __typename ... on CreateBackupPayload { backup { id } } ... on RuleViolations { violations { rule } } } }"): typeof import('./graphql.ts').CreateDocument;
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "query BackupById($id: ID!) { backup(id: $id) { status sizeOnDisk contentFilePath isValid job { status error } } }"): typeof import('./graphql.ts').BackupByIdDocument;
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "mutation CreateRestore($input: CreateRestoreInput!) { createRestore(input: $input) {\n  __typename ... on CreateRestorePayload { restore { id } } ... on RuleViolations { violations { rule } } } }"): typeof import('./graphql.ts').CreateRestoreDocument;
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "mutation StartRestore($id: ID!) { updateRestore(input: { id: $id, status: REQUESTING }) { __typename } }"): typeof import('./graphql.ts').StartRestoreDocument;
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "query RestoreById($id: ID!) { restore(id: $id) { status job { error } } }"): typeof import('./graphql.ts').RestoreByIdDocument;


export function graphql(source: string) {
  return (documents as any)[source] ?? {};
}
