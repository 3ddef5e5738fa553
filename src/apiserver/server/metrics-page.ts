import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Clock } from '../../base/clock.ts';
import { sendText } from '../http/respond.ts';
import type { KnownExchange } from './exchange.ts';
import type { RequestTurns } from './turns.ts';

export interface MetricsPageOptions {
  metricsText(): Promise<string>;
  readonly clock: Clock;
  readonly turns: RequestTurns;
}

const maxAgeMs = 1_000;
const compress = promisify(gzip);

/** `/metrics`: the text of a second serves all scrapers of that second. */
export class MetricsPage {
  readonly #options: MetricsPageOptions;
  #made: { readonly text: Promise<string>; readonly at: number } | undefined;

  constructor(options: MetricsPageOptions) {
    this.#options = options;
  }

  async send(exchange: KnownExchange): Promise<void> {
    const { raw, response } = exchange;
    const text = await this.#text();
    await this.#options.turns.holdAnswer(exchange, text.length);
    const contentType = 'text/plain; version=0.0.4; charset=utf-8; escaping=underscores';
    if (!/\bgzip\b/.test(String(raw.headers['accept-encoding'] ?? ''))) {
      sendText(response, { code: 200, contentType, text });
      return;
    }
    const body = await compress(text, { level: 1 });
    response.writeHead(200, { 'content-type': contentType, 'content-encoding': 'gzip', 'content-length': body.length });
    response.end(body);
  }

  #text(): Promise<string> {
    const { metricsText, clock } = this.#options;
    const now = clock.monotonicMs();
    if (this.#made === undefined || now - this.#made.at > maxAgeMs) this.#made = { text: metricsText(), at: now };
    return this.#made.text;
  }
}
