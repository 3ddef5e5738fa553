import { request as httpsRequest } from 'node:https';
import { readAnswer } from '../../base/http-answer.ts';

export interface FetchJsonOptions {
  /** PEM of the authorities that are trusted; absent: those of the system. */
  readonly caCertificate?: string | undefined;
  readonly timeoutMs: number;
  readonly maxBytes: number;
}

/** GET over https, without redirects, bounded in time and size. @throws Error that says what went wrong */
export function fetchJson(url: string, { caCertificate, timeoutMs, maxBytes }: FetchJsonOptions): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const target = new URL(url);
    if (target.protocol !== 'https:') throw new Error(`${url} is not an https address`);
    const request = httpsRequest(
      target,
      {
        agent: false,
        headers: { accept: 'application/json' },
        // Limit for the whole exchange, unlike `timeout`.
        signal: AbortSignal.timeout(timeoutMs),
        ...(caCertificate === undefined ? {} : { ca: caCertificate }),
      },
      (response) => {
        if (response.statusCode !== 200) {
          response.destroy();
          reject(new Error(`${url} answered ${response.statusCode}`));
          return;
        }
        readAnswer(response, { maxBytes }).then(
          (text) => {
            try {
              resolve(JSON.parse(text));
            } catch (cause) {
              reject(new Error(`${url} answered no JSON`, { cause }));
            }
          },
          (cause: Error) => reject(new Error(`${url}: ${cause.message}`, { cause })),
        );
      },
    );
    request.on('error', reject);
    request.end();
  });
}
