/**
 * The page that answers a browser at the endpoint: GraphiQL, complete in one document. It loads nothing from
 * anywhere, and its Content-Security-Policy lets nothing leave for another origin.
 *
 * The access token arrives in the fragment of the link that the gateway prints, so it never reaches a server log.
 * `graphiql-client.ts` says what becomes of it.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type * as Bundle from '@graphql-yoga/render-graphiql/graphiql';
import { clientScript, tokenScript } from './graphiql-client.ts';
import { exampleTabs } from './graphiql-examples.ts';

type Page = { html: string; headers: Readonly<Record<string, string>> };

/** The whole HTML document, 9 MB that compress to a quarter. Made on first use, then always the same string. */
export function graphiqlPage(): string {
  return page().html;
}

/**
 * The headers to send with it. Its `ETag` changes only with the page: whoever answers `If-None-Match` with 304 spares
 * the browser the transfer.
 */
export function graphiqlHeaders(): Readonly<Record<string, string>> {
  return page().headers;
}

let made: Page | undefined;

function page(): Page {
  made ??= build();
  return made;
}

function build(): Page {
  // Loaded here and not on start, which it would slow down by what a gateway without visitors never needs.
  const require = createRequire(import.meta.url);
  const bundle = require('@graphql-yoga/render-graphiql/graphiql') as typeof Bundle;
  const socketClient = readFileSync(
    join(dirname(require.resolve('graphql-ws/package.json')), 'umd', 'graphql-ws.min.js'), 'utf8');

  const scripts = [tokenScript, workerScript(bundle), bundle.js, socketClient, clientScript];
  const [takeToken, ...rest] = scripts.map((script) => `<script>${script}</script>`);
  const options = {
    title: 'Backup Gateway',
    logo,
    defaultTabs: exampleTabs,
    // A token typed into the headers tab must not be written to disk.
    shouldPersistHeaders: false,
  };
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Backup Gateway: GraphiQL</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
${takeToken}
<link rel="icon" href="data:image/svg+xml,${encodeURIComponent(logo)}">
<style>${bundle.css}</style>
<style>${pageStyle}</style>
</head>
<body>
<noscript>GraphiQL needs JavaScript. The endpoint itself answers any GraphQL client.</noscript>
${tokenForm}
<div id="root"></div>
<script type="application/json" id="graphiql-options">${inlineJson(options)}</script>
${rest.join('\n')}
</body>
</html>
`;
  const policy = [
    "default-src 'none'",
    `script-src ${scripts.map((script) => `'sha256-${digest(script)}'`).join(' ')}`,
    // The editor starts its language services from blobs, and sets styles of its own as it runs.
    'worker-src blob:',
    "style-src 'unsafe-inline'",
    'img-src data:',
    'font-src data:',
    // Also the socket: 'self' covers ws: and wss: of the page's own host.
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  return {
    html,
    headers: Object.freeze({
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Security-Policy': policy.join('; '),
      'X-Content-Type-Options': 'nosniff',
      'Referrer-Policy': 'no-referrer',
      'Cache-Control': 'no-cache',
      Vary: 'Accept, Accept-Encoding',
      ETag: `W/"${digest(html)}"`,
    }),
  };
}

/** The editor's language services, where the bundle looks for them. */
function workerScript(bundle: typeof Bundle): string {
  const sources = { editorWorkerService: bundle.editorWorkerService, json: bundle.jsonWorker, graphql: bundle.graphqlWorker };
  return `
const workerSources = ${inlineJson(sources)};
self.MonacoEnvironment = {
  globalAPI: false,
  getWorkerUrl: (moduleId, label) =>
    URL.createObjectURL(new Blob([workerSources[label] ?? workerSources.editorWorkerService], { type: 'text/javascript' })),
};
`;
}

/** JSON that no `</script>` or `<!--` in its strings can end early. */
function inlineJson(value: unknown): string {
  return JSON.stringify(value).replaceAll('<', '\\u003c');
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}

const logo = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="32" height="32" aria-hidden="true">
<rect x="3" y="4" width="26" height="24" rx="5" fill="#1f5fbf"/>
<path d="M9 20v3h14v-3" fill="none" stroke="#fff" stroke-width="2.5" stroke-linecap="round" stroke-linejoin="round"/>
<path d="M16 9v9m-4-4 4 4 4-4" fill="none" stroke="#fff" stroke-width="2.5" stroke-linecap="round" stroke-linejoin="round"/>
</svg>`;

const tokenForm = `<form id="token-form" aria-label="Access token" hidden>
<label for="token-field">Access token</label>
<input id="token-field" type="password" autocomplete="off" spellcheck="false" aria-describedby="token-hint">
<button type="submit">Use it in this tab</button>
<span id="token-hint" role="status"></span>
</form>`;

const pageStyle = `
body { display: flex; flex-direction: column; height: 100vh; }
#root { flex: 1; min-height: 0; }
#root > .graphiql-container { height: 100%; }
/* GraphiQL does this for tabs without the focus; one that gets it would jump from under the pointer (its drag offset
   is wrong from the start), and the click be lost. */
.graphiql-tab { transform: none !important; }
#token-form { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 12px; padding: 8px 16px;
  font: 15px/1.4 system-ui, sans-serif; color: #1d2433; background: #fff3cd; border-bottom: 1px solid #d9b84a; }
#token-form[hidden] { display: none; }
#token-form label { font-weight: 600; }
#token-form input { width: 22em; max-width: 100%; padding: 5px 8px; font: inherit; color: inherit; background: #fff;
  border: 1px solid #6b7280; border-radius: 4px; }
#token-form button { padding: 5px 12px; font: inherit; color: #fff; background: #1f5fbf; border: 0; border-radius: 4px;
  cursor: pointer; }
#token-form :focus-visible { outline: 3px solid #1f5fbf; outline-offset: 2px; }
#token-hint { flex: 1 1 20em; }
`;
