/** A subscription over Server-Sent Events. */
import type { TestGateway } from './gateway.ts';

/** Yields what each event carries, until the gateway or the signal ends the stream. */
export async function* readEvents({ url, token }: TestGateway, query: string, variables: object, signal: AbortSignal): AsyncGenerator<any, void> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST', signal, headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream', 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  let text = '';
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const events = text.split('\n\n');
    text = events.pop() ?? '';
    for (const event of events) {
      const data = /^data: ?(.*)$/m.exec(event)?.[1];
      if (data !== undefined && data !== '') yield JSON.parse(data);
    }
  }
}
