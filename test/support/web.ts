import { setMaxListeners } from 'node:events';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect, type Socket } from 'node:net';
import { systemClock } from '../../src/base/clock.ts';
import { createActivityFeed } from '../../src/base/contracts/activity.ts';
import { createLog } from '../../src/base/log.ts';
import { createTurnGate } from '../../src/base/turn-gate.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import { createWeb, type Web, type WebOptions } from '../../src/web/server.ts';
import { startTestApi } from './api.ts';

export interface RunningWeb {
  readonly web: Web;
  readonly port: number;
  stop(): Promise<void>;
}

/** The page of an empty cluster, on a free port. */
export async function startWeb(options: Partial<WebOptions> = {}): Promise<RunningWeb> {
  const api = await startTestApi();
  const running = new AbortController();
  // Every informer listens.
  setMaxListeners(0, running.signal);
  const { signal } = running;
  const log = createLog({ level: 'silent' });
  const informers = createInformerSet({ client: api.clientFor(), clock: systemClock, log });
  const web = createWeb({
    address: '127.0.0.1',
    port: 0,
    informers,
    activity: createActivityFeed(),
    mounts: [],
    metrics: {},
    ready: () => true,
    gate: createTurnGate({ clock: systemClock }),
    clock: systemClock,
    log,
    clusterName: 'test',
    version: '0.0.0',
    ...options,
  });
  const stop = async (): Promise<void> => {
    await web.stop();
    running.abort();
    await api.stop();
  };
  try {
    await web.start({ signal });
  } catch (err) {
    await stop();
    throw err;
  }
  informers.start({ signal });
  await informers.waitForSync({ signal });
  return { web, port: Number(new URL(web.url).port), stop };
}

export interface Answer {
  readonly code: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface Ask {
  readonly headers?: Record<string, string>;
  readonly method?: string;
  readonly body?: string;
  /** Address that the client has. */
  readonly from?: string;
  readonly host?: string;
}

/** Sends exactly these headers, unlike `fetch`, which sets Host itself. */
export function ask(port: number, path: string, options: Ask = {}): Promise<Answer> {
  const { headers = {}, method = 'GET', body = '', from, host = '127.0.0.1' } = options;
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host, port, path, method, headers, agent: false, ...(from === undefined ? {} : { localAddress: from }) },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve({ code: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }));
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

/** Sends bytes, and gives all that comes back until the server ends the connection or two seconds are over. */
export function askRaw(port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(text));
    socket.setEncoding('latin1').on('data', (chunk: string) => (answer += chunk));
    // A server that is not content may reset the connection.
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answer));
    socket.setTimeout(2_000, () => socket.destroy());
  });
}

/** A connection that sends nothing; it is remembered when it closes. */
export function openIdle(port: number, from = '127.0.0.1'): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: from }, () => resolve(socket));
    socket.once('error', reject);
    socket.on('error', () => undefined);
    socket.resume();
  });
}
