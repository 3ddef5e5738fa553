import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Container, Probe } from '../api/core/v1/pod.ts';
import type { Clock } from '../base/clock.ts';
import { readAnswerStart } from '../base/http-answer.ts';

export interface HttpActionOptions {
  readonly action: NonNullable<Probe['httpGet']>;
  readonly container: Container;
  /** Host of the request where the action names none. */
  readonly podIP: string;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

const maxBodyBytes = 10 * 1024;
const userAgent = 'kube-probe/1.36';

/** Runs the `httpGet` of a probe or a lifecycle hook. @throws Error when there is no answer in time, or the port is not known */
export async function runHttpAction(options: HttpActionOptions): Promise<{ readonly url: string; readonly status: number }> {
  const { action, container, podIP, timeoutMs, clock } = options;
  const { scheme = 'HTTP', host, port, path = '/', httpHeaders = [] } = action;
  const url = `${scheme.toLowerCase()}://${host ?? podIP}:${portOf(container, port)}${path.startsWith('/') ? path : `/${path}`}`;
  const headers = Object.fromEntries(httpHeaders.map(({ name, value }) => [name, value]));
  return { url, status: await get({ url, headers, timeoutMs, clock }) };
}

export const isHttpSuccess = (status: number): boolean => status >= 200 && status < 400;

/** @throws Error when a named port is not one of the container's */
export function portOf(container: Container, port: string | number): number {
  if (typeof port === 'number') return port;
  const named = container.ports?.find(({ name }) => name === port);
  if (named !== undefined) return named.containerPort;
  const number = Number(port);
  if (Number.isInteger(number) && number > 0) return number;
  throw new Error(`couldn't find port: ${port} in container ${container.name}`);
}

interface GetOptions {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

/**
 * GET with a deadline over the whole exchange. The body is read up to a bound and discarded. Certificates are not
 * checked, as upstream.
 */
function get({ url, headers, timeoutMs, clock }: GetOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      request.destroy();
      reject(new Error(`Get "${url}": ${why}`));
    };
    const cancel = clock.after(timeoutMs, () => fail('context deadline exceeded (Client.Timeout exceeded while awaiting headers)'));
    const make = url.startsWith('https:') ? httpsRequest : httpRequest;
    const request = make(url, {
      headers: { 'User-Agent': userAgent, Accept: '*/*', Connection: 'close', ...headers },
      agent: false,
      rejectUnauthorized: false,
    });
    request.once('response', (response) => {
      const end = (): void => {
        cancel();
        resolve(response.statusCode ?? 0);
      };
      // The status is known already, so an error of the body does not matter.
      readAnswerStart(response, { maxBytes: maxBodyBytes }).then(end, end);
    });
    request.once('error', (err: NodeJS.ErrnoException) => {
      cancel();
      fail(err.code === 'ECONNREFUSED' ? `dial tcp ${new URL(url).host}: connect: connection refused` : err.message);
    });
    request.end();
  });
}
