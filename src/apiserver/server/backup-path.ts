import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Log } from '../../base/log.ts';
import { methodNotAllowed, StatusError } from '../../machinery/status-error.ts';
import { type KnownExchange, signalOf } from './exchange.ts';

export interface BackupPathOptions {
  /** Starts a copy of all data and keys of the cluster, and gives it as a stream. */
  readonly backup: (signal: AbortSignal) => Promise<Readable>;
  readonly stopping: AbortSignal;
  readonly log: Log;
}

/**
 * Makes one backup at a time, since each needs as much disk as the store. It is POST, because people who only look are given rights to
 * GET every path.
 */
export class BackupPath {
  readonly #options: BackupPathOptions;
  #isBusy = false;

  constructor(options: BackupPathOptions) {
    this.#options = options;
  }

  async send({ method, response }: KnownExchange): Promise<void> {
    if (method !== 'POST') throw methodNotAllowed();
    if (this.#isBusy) {
      const message = 'a backup is being made already, please try again later';
      throw new StatusError({ code: 429, reason: 'TooManyRequests', message, details: { retryAfterSeconds: 10 } });
    }
    this.#isBusy = true;
    const { backup, stopping, log } = this.#options;
    const signal = signalOf(response);
    try {
      const archive = await backup(AbortSignal.any([signal, stopping]));
      response.writeHead(200, { 'content-type': 'application/gzip', connection: 'close' });
      await pipeline(archive, response);
    } catch (err) {
      // A client that went away has nobody to answer to.
      if (signal.aborted) return;
      log.error({ err }, 'Could not make backup');
      if (err instanceof StatusError) throw err;
      // A client that may have a backup may know what is wrong with the disk.
      const message = `no backup could be made: ${err instanceof Error ? err.message : String(err)}`;
      throw new StatusError({ code: 500, reason: 'InternalError', message, cause: err });
    } finally {
      this.#isBusy = false;
    }
  }
}
