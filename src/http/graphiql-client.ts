/**
 * What the page runs in the browser besides GraphiQL itself. It is text, not the source of functions: the page's
 * Content-Security-Policy names the digest of exactly this text, and a bundler or a coverage tool that rewrites
 * modules must not change it. No backtick and no `${` in it.
 */

/**
 * Runs first, in the head: takes the token out of the address before anything else can see it there, and keeps it
 * for this browser tab alone (`sessionStorage`; `localStorage` would outlive the tab and be shared with every other).
 */
export const tokenScript = String.raw`
(() => {
  'use strict';
  const key = 'backup-gateway:token:' + location.pathname;
  let token = null;
  try { token = sessionStorage.getItem(key); } catch { /* storage is blocked: the token lasts as long as the page */ }
  const keep = (value) => {
    token = value;
    try { sessionStorage.setItem(key, value); } catch { /* as above */ }
  };
  const takeFromAddress = () => {
    const found = /[#&]token=([^&]*)/.exec(location.hash);
    if (!found) return false;
    history.replaceState(history.state, '', location.pathname + location.search);
    let value = found[1];
    try { value = decodeURIComponent(value); } catch { /* a bare percent sign: take it as it stands */ }
    if (value === '') return false;
    keep(value);
    return true;
  };
  takeFromAddress();
  // The printed link opened again in this tab changes the fragment without loading the page.
  addEventListener('hashchange', () => { if (takeFromAddress()) location.reload(); });
  globalThis.backupGateway = { token: () => token, keep };
})();
`;

/**
 * Runs last: the form that asks for a token, and the `fetcher` that GraphiQL is given.
 *
 * Why a fetcher, GraphiQL's own way to bring a transport: the client that render-graphiql builds takes its
 * connectionParams once and shares one socket among all tabs, so an Authorization header in the headers tab would
 * hold for HTTP and not for subscriptions. It also shows only the latest event of a subscription, and GraphiQL ends
 * a subscription when its tab is left, so that nobody could watch from one tab what another one starts.
 */
export const clientScript = String.raw`
(() => {
  'use strict';
  const KEPT_EVENTS = 100;
  const { token, keep } = globalThis.backupGateway;
  const httpUrl = location.origin + location.pathname;
  const socketUrl = httpUrl.replace(/^http/, 'ws');

  // ---- the token form
  const TOKEN_NEEDED = 'Every request needs an access token. Open the link that the gateway printed when it started, or paste the token here.';
  const form = document.getElementById('token-form');
  const field = document.getElementById('token-field');
  const askForToken = (why) => {
    document.getElementById('token-hint').textContent = why;
    form.hidden = false;
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const value = field.value.trim().replace(/^Bearer\s+/i, '');
    if (value === '') { field.focus(); return; }
    keep(value);
    // What has been typed is kept by GraphiQL; a fresh start asks for the schema again.
    location.reload();
  });
  if (!token()) askForToken(TOKEN_NEEDED);

  // ---- credentials: what the headers tab says wins, on both transports
  const headersFor = (tabHeaders) => {
    const headers = new Headers(tabHeaders);
    if (token() && !headers.has('authorization') && !headers.has('sec')) headers.set('authorization', 'Bearer ' + token());
    return headers;
  };
  const connectionParamsFor = (tabHeaders) => {
    const headers = headersFor(tabHeaders);
    const authorization = headers.get('authorization') || (headers.has('sec') ? 'Bearer ' + headers.get('sec') : null);
    return authorization ? { authorization } : {};
  };
  const noticeRefusal = (refused, tabHeaders) => {
    const own = new Headers(tabHeaders);
    if (!refused || own.has('authorization') || own.has('sec')) return;
    askForToken(token() ? 'The gateway does not accept this token. Paste another one.' : TOKEN_NEEDED);
  };

  // ---- queries and mutations
  const send = async (params, tabHeaders) => {
    const headers = headersFor(tabHeaders);
    headers.set('content-type', 'application/json');
    headers.set('accept', 'application/graphql-response+json, application/json');
    const response = await fetch(httpUrl, { method: 'POST', headers, body: JSON.stringify(params), credentials: 'same-origin' });
    const text = await response.text();
    let result;
    try { result = JSON.parse(text); } catch {
      throw new Error('The answer is not JSON. HTTP ' + response.status + ' ' + response.statusText + ': ' + text.slice(0, 500));
    } finally {
      noticeRefusal(response.status === 401 || /"code":\s*"UNAUTHENTICATED"/.test(text), tabHeaders);
    }
    return result;
  };

  // ---- subscriptions: one socket for each, with the credentials of its tab
  const openSubscription = (key, params, tabHeaders) => {
    const events = [];
    let received = 0;
    let version = 0;
    let ended = false;
    let wake = () => {};
    const changed = () => { version++; wake(); };
    const add = (event) => {
      received++;
      events.unshift(event);
      events.length = Math.min(events.length, KEPT_EVENTS);
    };
    const client = graphqlWs.createClient({
      url: socketUrl,
      connectionParams: connectionParamsFor(tabHeaders),
      // Reconnecting without a word would hide that changes may have been missed.
      retryAttempts: 0,
      on: { connected: changed },
    });
    const finish = () => { ended = true; changed(); };
    client.subscribe(params, {
      next: (result) => { add(result); changed(); },
      complete: finish,
      error: (error) => {
        if (Array.isArray(error)) add({ errors: error });
        else if (error instanceof CloseEvent) {
          const refused = error.code === 4401 || error.code === 4403;
          noticeRefusal(refused, tabHeaders);
          const reason = 'The connection was closed: ' + error.code + (error.reason ? ' ' + error.reason : '') + '.';
          add({ errors: [{ message: refused ? reason : reason + ' With the last cursor as "after", nothing is missed.' }] });
        } else add({ errors: [{ message: error instanceof Error ? error.message : 'The connection failed.' }] });
        finish();
      },
    });
    return {
      key,
      version: () => version,
      ended: () => ended,
      change: () => new Promise((resolve) => { wake = resolve; }),
      wake: () => wake(),
      view: () => ({ live: !ended, received, newestFirst: [...events] }),
      end: () => { void client.dispose(); },
    };
  };

  let parked = null; // goes on in the background, its tab was left
  let left = null; // GraphiQL has just let go of it
  const letGo = (subscription) => {
    if (subscription.ended()) return;
    left = subscription;
    // GraphiQL reports a change of tabs in the same turn in which it stops the subscription; the button does not.
    queueMicrotask(() => {
      if (left === subscription) { left = null; subscription.end(); }
    });
  };
  let shownTab = 0;
  let tabCount = 0;
  const onTabChange = (state) => {
    const switched = state.activeTabIndex !== shownTab && state.tabs.length >= tabCount;
    shownTab = state.activeTabIndex;
    tabCount = state.tabs.length;
    if (!left || !switched) return;
    parked?.end();
    parked = left;
    left = null;
  };

  const subscribe = (params, tabHeaders) => {
    const key = JSON.stringify([params, connectionParamsFor(tabHeaders)]);
    const again = parked?.key === key;
    if (!again) parked?.end();
    const subscription = again ? parked : openSubscription(key, params, tabHeaders);
    parked = null;
    let shown = 0;
    let stopped = false;
    return {
      [Symbol.asyncIterator]() { return this; },
      async next() {
        while (!stopped && !subscription.ended() && shown === subscription.version()) await subscription.change();
        if (stopped || shown === subscription.version()) return { done: true, value: undefined };
        shown = subscription.version();
        return { done: false, value: subscription.view() };
      },
      async return() {
        if (!stopped) { stopped = true; subscription.wake(); letGo(subscription); }
        return { done: true, value: undefined };
      },
    };
  };

  const isSubscription = (params, documentAST) => {
    const operations = (documentAST?.definitions ?? []).filter((definition) => definition.kind === 'OperationDefinition');
    const chosen = operations.find((operation) => operation.name?.value === params.operationName) ?? operations[0];
    return chosen?.operation === 'subscription';
  };
  const fetcher = (params, options) =>
    isSubscription(params, options?.documentAST) ? subscribe(params, options?.headers) : send(params, options?.headers);

  // Names of our own in localStorage: another program's GraphiQL may have lived at this address before.
  const prefix = 'backup-gateway:' + location.pathname + ':';
  const storage = {
    getItem: (name) => localStorage.getItem(prefix + name),
    setItem: (name, value) => localStorage.setItem(prefix + name, value),
    removeItem: (name) => localStorage.removeItem(prefix + name),
    clear: () => Object.keys(localStorage).filter((name) => name.startsWith(prefix)).forEach((name) => localStorage.removeItem(name)),
    get length() { return Object.keys(localStorage).filter((name) => name.startsWith(prefix)).length; },
  };

  // GraphiQL keeps its tabs at once, but the document on display only after an edit or a change of tabs; a reload in
  // between (a token has just been pasted) would open one more tab, an empty one.
  const keptTabs = storage.getItem('graphiql:tabState');
  if (keptTabs && !storage.getItem('graphiql:query')) {
    try {
      const { tabs, activeTabIndex } = JSON.parse(keptTabs);
      if (tabs[activeTabIndex].query) storage.setItem('graphiql:query', tabs[activeTabIndex].query);
    } catch { /* GraphiQL replaces what it cannot read */ }
  }

  // GraphiQL's tabs can be dragged, but their drag starts with a wrong offset and puts them in another order when
  // the hand trembles. Without the press no drag begins; the click selects the tab as it should.
  addEventListener('pointerdown', (event) => {
    if (event.target instanceof Element && event.target.closest('.graphiql-tab')) event.stopPropagation();
  }, { capture: true });

  const options = JSON.parse(document.getElementById('graphiql-options').textContent);
  YogaGraphiQL.renderYogaGraphiQL(document.getElementById('root'), {
    ...options,
    fetcher,
    storage,
    onTabChange,
    // By default every edit goes into the address, where a passcode would reach history and access logs.
    onEditQuery() {},
  });
})();
`;
