import { connect } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { GrpcMethod } from '../base/grpc.ts';

export interface GrpcHealthOptions {
  readonly host: string;
  readonly port: number;
  /** Empty: the server as a whole. */
  readonly service: string;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

const userAgent = 'kube-probe/1.36';
const statuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];
const maxAnswerBytes = 10 * 1024;

/**
 * The call of the standard health service. Its two messages have a field each, so they are written here by hand.
 *
 * @see https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 */
const check: GrpcMethod<string, string> = {
  path: '/grpc.health.v1.Health/Check',
  encode(service) {
    const bytes = Buffer.from(service);
    return bytes.length === 0 ? bytes : Buffer.concat([Buffer.from([0x0a, ...varintOf(bytes.length)]), bytes]);
  },
  decode(bytes) {
    // An enumeration of 0 is left out. Statuses are small, and fields that a later version adds come after it.
    const status = bytes[0] === 0x08 ? (bytes[1] ?? 0) : 0;
    return statuses[status] ?? String(status);
  },
};

function varintOf(value: number): readonly number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varintOf(value >>> 7)];
}

/** Asks a server for its health, as the kubelet does. @throws Error in the kubelet's words when it does not serve */
export async function checkGrpcHealth({ host, port, service, timeoutMs, clock }: GrpcHealthOptions): Promise<void> {
  // Few pods have such a probe, and few starts of the program need this code.
  const { createGrpcClient, GrpcError, grpcCodes } = await import('../base/grpc.ts');
  const client = createGrpcClient({
    connect: () => connect({ host, port }),
    clock,
    maxMessageBytes: maxAnswerBytes,
    metadata: () => ({ 'user-agent': userAgent }),
  });
  let status: string;
  try {
    status = await client.call(check, service, { timeoutMs });
  } catch (err) {
    if (!(err instanceof GrpcError)) throw err;
    const { code, message } = err;
    const why =
      code === grpcCodes.unimplemented
        ? `this server does not implement the grpc health protocol (grpc.health.v1.Health): ${message}`
        : code === grpcCodes.deadlineExceeded || code === grpcCodes.unavailable
          ? `timeout: failed to connect service "${host}:${port}" within ${timeoutMs / 1_000}s: ${message}`
          : `health rpc probe failed: ${message}`;
    throw new Error(why, { cause: err });
  } finally {
    client.close();
  }
  if (status !== 'SERVING') throw new Error(`service unhealthy (responded with "${status}")`);
}
