import { readFile } from 'node:fs/promises';
import { request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { readAnswer } from '../../base/http-answer.ts';
import { networkErrorText } from '../../base/network-error.ts';
import { timeLimit } from '../../base/time-limit.ts';

export interface RemoteCloud {
  /** Before the paths of the contract; without a slash at its end. */
  readonly url: string;
  /** File with a bearer token, read for each request. Absent: none is sent. */
  readonly tokenFile?: string;
  /** PEM; absent: the authorities of the system. */
  readonly caCertificate?: string;
  /** Longest time of one request. Absent: 30 s. */
  readonly timeoutMs?: number;
}

/** Sends one question of the contract. */
export interface CloudRequests {
  /**
   * @returns what the provider answered; undefined when it says that it does not do such things (501)
   * @throws CloudAnswerError for another code than 2xx; Error when there is no usable answer in time
   */
  post(path: string, body: object, signal: AbortSignal): Promise<Readonly<Record<string, unknown>> | undefined>;
}

/** The provider says no. */
export class CloudAnswerError extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

const defaultTimeoutMs = 30_000;
const maxAnswerBytes = 1024 * 1024;
const maxMessage = 500;

/** Redirects are not followed: they would take the token elsewhere. */
export function createCloudRequests(cloud: RemoteCloud): CloudRequests {
  const { url, tokenFile, caCertificate, timeoutMs = defaultTimeoutMs } = cloud;
  return {
    async post(path, body, signal) {
      const text = JSON.stringify({ apiVersion: 'cloud.midship.dev/v1', ...body });
      const token = tokenFile === undefined ? '' : (await readFile(tokenFile, 'utf8')).trim();
      const options: RequestOptions & { readonly ca?: string } = {
        method: 'POST',
        signal: timeLimit(signal, timeoutMs),
        headers: {
          'Content-Type': 'application/json',
          'Content-Length': Buffer.byteLength(text),
          ...(token === '' ? {} : { Authorization: `Bearer ${token}` }),
        },
        ...(caCertificate === undefined ? {} : { ca: caCertificate }),
      };
      let answer: { readonly code: number; readonly text: string };
      try {
        answer = await exchange(new URL(`${url}/v1/${path}`), options, text);
      } catch (err) {
        signal.throwIfAborted();
        const why =
          options.signal?.aborted === true
            ? `no answer within ${timeoutMs / 1_000} s`
            : err instanceof Error
              ? networkErrorText(err)
              : String(err);
        throw new Error(`cloud provider ${path}: ${why}`, { cause: err });
      }
      if (answer.code === 501) return undefined;
      const parsed = tryObject(answer.text);
      if (answer.code < 200 || answer.code > 299) {
        const message = typeof parsed?.message === 'string' ? parsed.message.slice(0, maxMessage) : `HTTP ${answer.code}`;
        throw new CloudAnswerError(answer.code, message);
      }
      if (parsed === undefined) throw new Error(`cloud provider ${path}: the answer is no JSON object`);
      return parsed;
    },
  };
}

function exchange(url: URL, options: RequestOptions, body: string): Promise<{ readonly code: number; readonly text: string }> {
  const open = url.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const request = open(url, options, (response) => {
      readAnswer(response, { maxBytes: maxAnswerBytes }).then((text) => resolve({ code: response.statusCode ?? 0, text }), reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

function tryObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    // Its absence is what the caller reports.
    return undefined;
  }
}
