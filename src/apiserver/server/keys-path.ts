import { keysPath } from '../../api/well-known.ts';
import { badRequest, methodNotAllowed } from '../../machinery/status-error.ts';
import { sendPageNotFound, sendText } from '../http/respond.ts';
import type { KnownExchange } from './exchange.ts';

/**
 * Actions of an administrator on the keys of the cluster, by the last part of the path.
 *
 * @throws StatusError `Conflict` (409) when another change is under way, or another server would not know the keys
 */
export type KeyActions = Readonly<Record<string, KeyAction>>;

type KeyAction = (request: Readonly<Record<string, unknown>>) => Promise<object>;

/** Fields are short; a secret of servers has 512 characters at most. */
const maxBodyBytes = 4_096;

/** It is POST, because people who only look are given rights to GET every path. Bodies hold secrets, and are in no audit log. */
export async function answerKeys({ method, path, response }: KnownExchange, actions: KeyActions, body: Buffer | undefined): Promise<void> {
  if (method !== 'POST') throw methodNotAllowed();
  const name = path.slice(keysPath.length);
  const action = Object.hasOwn(actions, name) ? actions[name] : undefined;
  if (action === undefined) {
    sendPageNotFound(response);
    return;
  }
  sendText(response, { code: 200, contentType: 'application/json', text: JSON.stringify(await action(requestIn(body))) });
}

function requestIn(body: Buffer | undefined): Readonly<Record<string, unknown>> {
  if (body === undefined || body.length === 0) return {};
  if (body.length > maxBodyBytes) throw badRequest(`the body has more than ${maxBodyBytes} bytes`);
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Readonly<Record<string, unknown>>;
  } catch {
    // The text is in no message: it may hold a secret.
  }
  throw badRequest('the body is no JSON object');
}
