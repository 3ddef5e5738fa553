import { type DestinationStream, type Logger, pino } from 'pino';

export type Log = Logger;

/** Keys whose values never reach a log line, at any depth the program logs at. */
const redactedKeys = ['token', 'password', 'secret', 'authorization', 'cookie', 'key', 'data', 'stringData'];

export interface LogOptions {
  readonly level: string;
  /** Destination of the lines; standard error when absent. */
  readonly destination?: DestinationStream;
  /** Takes values of Secrets out of a line. */
  readonly redact?: (line: string) => string;
}

/** The root logger: JSON lines. Child loggers carry `component`, `controller`, `reconcileId`. */
export function createLog({ level, destination, redact }: LogOptions): Log {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: redactedKeys.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: '[redacted]' },
      serializers: { err: pino.stdSerializers.err },
      ...(redact === undefined ? {} : { hooks: { streamWrite: (line) => redactedLine(line, redact) } }),
    },
    destination ?? pino.destination({ dest: 2, sync: false }),
  );
}

/** Redacts a line whole. A value without quotation marks would leave no JSON: then each text of the line is redacted by itself. */
function redactedLine(line: string, redact: (line: string) => string): string {
  const redacted = redact(line);
  if (redacted === line) return line;
  try {
    JSON.parse(redacted);
    return redacted;
  } catch {
    const safe = (_: string, value: unknown): unknown =>
      typeof value === 'string' || (typeof value === 'number' && redact(String(value)) !== String(value)) ? redact(String(value)) : value;
    return `${JSON.stringify(JSON.parse(line), safe)}\n`;
  }
}
