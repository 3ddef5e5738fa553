import type { ServerResponse } from 'node:http';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { isStatusError } from '../machinery/status-error.ts';
import type { Identity } from './access.ts';
import { contentTypes } from './answers.ts';
import { createLineCutter, plainLog } from './log-text.ts';
import { Busy } from './pace.ts';
import type { LogRequest, UserApi } from './user-api.ts';

/** Follows logs for open pages by server-sent events. */
export interface LogStreams {
  /** Answers the request until the container, the viewer or the session ends. @throws Busy when too many are followed */
  follow(stream: FollowedLog): void;
  close(): void;
}

export interface FollowedLog {
  readonly identity: Identity;
  readonly log: Omit<LogRequest, 'signal'>;
  readonly response: ServerResponse;
  /** End of the session, in milliseconds of the monotonic clock. */
  readonly endsAt: number;
}

export interface LogStreamsOptions {
  readonly userApi: UserApi;
  readonly clock: Clock;
  readonly log: Log;
  redact(text: string): string;
}

const maxStreams = 32;
const maxStreamsOfUser = 8;
const flushMs = 200;
const heartbeatMs = 15_000;
/** Lines that wait for the next message. A container that writes more loses its oldest ones, and the page says so. */
const maxWaiting = 1_000;
/** A viewer that is further behind than this is cut off. */
const maxBufferedBytes = 1024 * 1024;

export function createLogStreams({ userApi, clock, log, redact }: LogStreamsOptions): LogStreams {
  const streams = new Map<AbortController, string>();

  return {
    follow({ identity, log: wanted, response, endsAt }) {
      const ofUser = [...streams.values()].filter((name) => name === identity.name).length;
      // A client that has left meanwhile would never free its place.
      if (response.destroyed) return;
      if (streams.size >= maxStreams || ofUser >= maxStreamsOfUser) throw new Busy();
      const abort = new AbortController();
      streams.set(abort, identity.name);
      const cutLines = createLineCutter();
      let waiting: string[] = [];
      let skipped = 0;
      let cancelFlush: (() => void) | undefined;

      const send = (event: string, data: unknown): void => {
        // JSON has no line breaks, so the data is one line.
        response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
        if (response.writableLength > maxBufferedBytes) response.destroy();
      };
      const flush = (): void => {
        cancelFlush?.();
        cancelFlush = undefined;
        if (waiting.length === 0) return;
        // Whole lines: a value that is cut in two would not be found.
        send('lines', { lines: waiting.map((line) => redact(plainLog(line))), skipped });
        waiting = [];
        skipped = 0;
      };
      const beat = (): void => {
        send('ping', {});
        cancelBeat = clock.after(heartbeatMs, beat);
      };
      let cancelBeat = clock.after(heartbeatMs, beat);
      const cancelEnd = clock.after(endsAt - clock.monotonicMs(), () => response.end());
      const leave = (): void => {
        streams.delete(abort);
        cancelFlush?.();
        cancelBeat();
        cancelEnd();
        abort.abort(new Error('the viewer left'));
      };
      response.once('close', leave);
      response.writeHead(200, { 'Content-Type': contentTypes.events, 'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no' });
      // The head goes out before the first line does.
      response.write(': \n\n');

      const take = (text: string): void => {
        waiting.push(...cutLines(text));
        if (waiting.length > maxWaiting) skipped += waiting.splice(0, waiting.length - maxWaiting).length;
        cancelFlush ??= clock.after(flushMs, flush);
      };
      userApi
        .followLog(identity, { ...wanted, signal: abort.signal }, take)
        .then(
          () => {
            for (const line of cutLines('\n')) if (line !== '') waiting.push(line);
            flush();
            send('end', { text: 'The container ended, or its log.' });
          },
          (err: unknown) => {
            if (abort.signal.aborted) return;
            flush();
            if (!isStatusError(err)) log.info({ pod: wanted.pod.name, err }, 'Could not follow log');
            send('end', { text: isStatusError(err) ? `The API refuses: ${redact(err.message)}` : 'The log broke off.' });
          },
        )
        .finally(() => response.end());
    },
    close() {
      for (const abort of streams.keys()) abort.abort(new Error('the page stops'));
    },
  };
}
