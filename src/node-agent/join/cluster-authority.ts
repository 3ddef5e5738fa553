import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { authorityHashOf } from '../../api/join-token-secrets.ts';
import { authorityPath } from '../../api/well-known.ts';
import { readAnswer } from '../../base/http-answer.ts';
import { networkErrorText } from '../../base/network-error.ts';
import { timeLimit } from '../../base/time-limit.ts';
import { JoinError } from './join-error.ts';

export interface ClusterAuthorityOptions {
  /** `https://HOST:PORT` */
  readonly server: string;
  /** The token's word on the authority. */
  readonly authorityHash: string;
  readonly now: () => number;
  readonly signal: AbortSignal;
}

/** The server does not answer now; a later try may find it. */
export class ServerUnreachable extends Error {
  override readonly name = 'ServerUnreachable';
}

/** The server shows another authority than the token names. */
export class OtherAuthority extends JoinError {}

const maxBytes = 64 * 1024;
const timeoutMs = 10_000;
/** Certificates begin five minutes before they are signed. */
const maxClockOffsetMs = 4 * 60_000;

/**
 * Fetches the authority of the cluster from `/cacerts`. The connection is trusted for nothing: the hash of the token decides.
 *
 * @returns PEM
 * @throws JoinError for an answer that is not the cluster of the token, and for a clock that differs
 * @throws ServerUnreachable without an answer
 */
export async function fetchClusterAuthority(options: ClusterAuthorityOptions): Promise<string> {
  const { server, authorityHash, now, signal } = options;
  const { status, body, date } = await get(server, signal);
  if (status !== 200) {
    throw new JoinError(`${server} is no server that machines can join`, {
      why: `It answered ${status} for ${authorityPath}.`,
      fix: 'Check --server: it is the address of "midship server", with its API port.',
    });
  }
  if (authorityHashOf(body) !== authorityHash) {
    throw new OtherAuthority(`${server} is not the cluster of this token`, {
      why: 'The hash in the token is not that of the authority which the server shows.',
      fix: 'Check --server, and take the token from that server: midship token create, or the file "token" of its data directory.',
    });
  }
  const offsetMs = date === undefined ? 0 : Date.parse(date) - now();
  if (Math.abs(offsetMs) > maxClockOffsetMs) {
    const minutes = Math.round(Math.abs(offsetMs) / 60_000);
    throw new JoinError(`the clock of this machine is ${minutes} minutes ${offsetMs > 0 ? 'behind' : 'ahead of'} that of ${server}`, {
      why: 'Certificates and leases are judged by the time, so machines have to agree on it.',
      fix: 'Set the clock of one of them, for example by systemd-timesyncd.',
    });
  }
  return body;
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly date: string | undefined;
}

async function get(server: string, signal: AbortSignal): Promise<Answer> {
  // Nothing of the answer counts before its hash was compared, so the server's certificate need not be known.
  const sent = request(`${server}${authorityPath}`, { rejectUnauthorized: false, agent: false, signal: timeLimit(signal, timeoutMs) });
  sent.end();
  try {
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return { status: response.statusCode ?? 0, body: await readAnswer(response, { maxBytes }), date: response.headers.date };
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    throw new ServerUnreachable(networkErrorText(cause as Error), { cause });
  }
}
