import { type DestinationStream, type Logger, pino } from 'pino';

export type Log = Logger;

/** Keys whose values never reach a log line, at any depth the program logs at. */
const redactedKeys = ['token', 'password', 'secret', 'authorization', 'cookie', 'key', 'data', 'stringData'];

export interface LogOptions {
  readonly level: string;
  /** Where lines go; standard error when absent. */
  readonly destination?: DestinationStream;
}

/** Takes `user:password@` and query strings out of a URL that is about to be shown. */
export function redactUrl(url: string): string {
  return url.replace(/(\w+:\/\/)[^/@\s]+@/g, '$1').replace(/\?.*$/, '');
}

/** The root logger: JSON lines. Child loggers carry `component`, `controller`, `reconcileId`. */
export function createLog({ level, destination }: LogOptions): Log {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: redactedKeys.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: '[redacted]' },
      serializers: { err: pino.stdSerializers.err },
    },
    destination ?? pino.destination({ dest: 2, sync: false }),
  );
}
