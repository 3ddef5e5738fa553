import { Agent, request as httpsRequest, type RequestOptions } from 'node:https';
import { isIP } from 'node:net';
import type { Webhook } from '../../api/admissionregistration/v1/webhook-configuration.ts';
import { type Service, services } from '../../api/core/v1/service.ts';
import { readAnswer } from '../../base/http-answer.ts';
import { networkErrorText } from '../../base/network-error.ts';
import { timeLimit } from '../../base/time-limit.ts';
import type { Registry } from '../registry/registry.ts';

/** Asks webhooks. */
export interface WebhookClient {
  /**
   * Posts `body` and gives the text of the answer.
   *
   * @throws Error with the message of the real server, `Post "https://…": …`, when there is no answer within the webhook's time
   */
  post(webhook: Webhook, body: string, signal: AbortSignal | undefined): Promise<string>;
  close(): void;
}

/** An answer may hold the patch of an object of the largest size, and some words. */
const maxAnswerBytes = 4 * 1024 * 1024;
const maxSocketsPerHook = 100;
const maxIdleSocketsPerHook = 4;
const idleSocketMs = 30_000;
const defaultTimeoutSeconds = 10;

/**
 * HTTPS only, by the certificates that the webhook's configuration trusts, or those of the system. Redirects are not followed, and neither
 * size nor time of an answer is without a bound. Services are reached at their address in the cluster.
 */
export function createWebhookClient(registry: Pick<Registry, 'get'>): WebhookClient {
  const agent = new Agent({
    keepAlive: true,
    maxSockets: maxSocketsPerHook,
    maxFreeSockets: maxIdleSocketsPerHook,
    timeout: idleSocketMs,
  });

  return {
    async post(webhook, body, signal) {
      const seconds = webhook.timeoutSeconds ?? defaultTimeoutSeconds;
      const target = targetOf(webhook);
      const shown = `Post ${JSON.stringify(`${target.url}?timeout=${seconds}s`)}`;
      try {
        const address = addressOf(registry, webhook);
        const options = { webhook, target, address, path: `${target.path}?timeout=${seconds}s`, body, seconds, signal };
        try {
          return await exchange({ ...options, agent });
        } catch (err) {
          if (!(err instanceof StaleConnection)) throw err;
          // The webhook closed the kept connection before it saw the request, as one that restarts does.
          return await exchange({ ...options, agent: false });
        }
      } catch (err) {
        if (err instanceof AnswerError) throw err;
        throw new Error(`${shown}: ${err instanceof Error ? networkErrorText(err) : String(err)}`, { cause: err });
      }
    },
    close: () => agent.destroy(),
  };
}

/** The webhook answered, but not with 2xx. */
class AnswerError extends Error {}

/** A connection of an earlier request was closed, and no answer came. */
class StaleConnection extends Error {}

interface Target {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly path: string;
}

function targetOf({ clientConfig }: Webhook): Target {
  const { url, service } = clientConfig;
  if (service !== undefined && service !== null) {
    const { name, namespace, path = '', port = 443 } = service;
    const host = `${name}.${namespace}.svc`;
    const given = path === '' || path.startsWith('/') ? path : `/${path}`;
    return { url: `https://${host}:${port}${given}`, host, port, path: given === '' ? '/' : given };
  }
  const parsed = new URL(url ?? '');
  const shown = parsed.pathname === '/' && !(url ?? '').endsWith('/') ? '' : parsed.pathname;
  return {
    url: `https://${parsed.host}${shown}`,
    host: parsed.hostname.replace(/^\[|\]$/g, ''),
    port: parsed.port === '' ? 443 : Number(parsed.port),
    path: parsed.pathname,
  };
}

/** Address to connect to, when it differs from the URL. */
function addressOf(registry: Pick<Registry, 'get'>, { clientConfig }: Webhook): string | undefined {
  const { service } = clientConfig;
  if (service === undefined || service === null) return undefined;
  const { name, namespace, port = 443 } = service;
  const found = registry.get(services, `${namespace}/${name}`) as Service | undefined;
  if (found === undefined) throw new Error(`service ${JSON.stringify(name)} not found`);
  const { type, clusterIP, externalName, ports = [] } = found.spec;
  if (type === 'ExternalName') return externalName ?? '';
  if (!ports.some((served) => served.port === port)) throw new Error(`no service port ${port} found for service ${JSON.stringify(name)}`);
  if (clusterIP === undefined || clusterIP === '' || clusterIP === 'None')
    throw new Error(`service ${JSON.stringify(name)} has no cluster IP`);
  return clusterIP;
}

interface ExchangeOptions {
  /** False: a connection of its own. */
  readonly agent: Agent | false;
  readonly webhook: Webhook;
  readonly target: Target;
  readonly address: string | undefined;
  readonly path: string;
  readonly body: string;
  readonly seconds: number;
  readonly signal: AbortSignal | undefined;
}

function exchange({ agent, webhook, target, address, path, body, seconds, signal }: ExchangeOptions): Promise<string> {
  const { caBundle } = webhook.clientConfig;
  const bytes = Buffer.from(body);
  const timeMs = seconds * 1000;
  const options: RequestOptions = {
    agent,
    host: address ?? target.host,
    port: target.port,
    method: 'POST',
    path,
    // Names of addresses are not sent, as everywhere.
    ...(isIP(target.host) === 0 ? { servername: target.host } : {}),
    ...(caBundle === undefined || caBundle === null || caBundle === '' ? {} : { ca: Buffer.from(String(caBundle), 'base64') }),
    minVersion: 'TLSv1.2',
    headers: {
      host: target.port === 443 ? target.host : `${target.host}:${target.port}`,
      'content-type': 'application/json',
      accept: 'application/json, */*',
      'user-agent': 'kube-apiserver-admission',
      'content-length': bytes.length,
    },
    signal: signal === undefined ? AbortSignal.timeout(timeMs) : timeLimit(signal, timeMs),
  };
  return new Promise((resolve, reject) => {
    const request = httpsRequest(options, (response) => {
      readAnswer(response, { maxBytes: maxAnswerBytes }).then((text) => {
        const { statusCode = 0 } = response;
        if (statusCode >= 200 && statusCode < 300) resolve(text);
        else reject(new AnswerError(answerText(statusCode, text)));
      }, reject);
    });
    request.on('error', (err: NodeJS.ErrnoException) => {
      const isStale = request.reusedSocket && (err.code === 'ECONNRESET' || err.code === 'EPIPE');
      reject(isStale ? new StaleConnection('a kept connection was closed', { cause: err }) : err);
    });
    request.end(bytes);
  });
}

const maxShownLength = 256;

/** The words of the real server's client for an answer that is no success. */
function answerText(code: number, text: string): string {
  switch (code) {
    case 400:
      return 'the server rejected our request for an unknown reason';
    case 401:
      return 'the server has asked for the client to provide credentials';
    case 403:
      return 'forbidden';
    case 404:
      return 'the server could not find the requested resource';
    case 405:
      return 'the server does not allow this method on the requested resource';
    case 503:
      return 'the server is currently unable to handle the request';
    default:
      return `an error on the server (${JSON.stringify(text.slice(0, maxShownLength).trim())}) has prevented the request from succeeding`;
  }
}
