/**
 * Typed documents: `npm run codegen`, from the committed schema. Each place with documents has its own `gql/`.
 */
import type { CodegenConfig } from '@graphql-codegen/cli';

/** Documents are strings, which every client sends as they are; enums are unions of strings. */
const typedDocuments = {
  preset: 'client',
  presetConfig: { fragmentMasking: false },
  config: {
    documentMode: 'string',
    // What Node's type stripping and `tsc` both take.
    useTypeImports: true,
    importExtension: '.ts',
    strictScalars: true,
    scalars: { ID: 'string', Long: 'number', DateTime: 'string' },
  },
} as const;

export default {
  schema: 'schema.graphql',
  generates: {
    'test/gql/': { ...typedDocuments, documents: ['test/**/*.ts', '!test/gql/**'] },
    'examples/watch-backups/gql/': { ...typedDocuments, documents: ['examples/watch-backups/**/*.ts', '!examples/watch-backups/gql/**'] },
  },
} satisfies CodegenConfig;
