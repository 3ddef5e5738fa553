import { JsonError, parseJson } from '../../machinery/json.ts';
import { badRequest } from '../../machinery/status-error.ts';

/** Position at which a list continues: after the key `after`, in the state of `revision`; -1 is the newest state. */
export interface ContinueToken {
  readonly revision: number;
  readonly after: string;
}

const tokenVersion = 'meta.k8s.io/v1';

/** The form of the real server's tokens; clients must not read it, people who debug do. */
export const formatContinueToken = ({ revision, after }: ContinueToken): string =>
  Buffer.from(JSON.stringify({ v: tokenVersion, rv: revision, start: `${after}\u0000` })).toString('base64url');

/** @throws StatusError `BadRequest` */
export function parseContinueToken(text: string): ContinueToken {
  const bytes = Buffer.from(text, 'base64url');
  let token: { readonly v?: unknown; readonly rv?: unknown; readonly start?: unknown } | null;
  try {
    token = parseJson(bytes.toString('utf8')).value as typeof token;
  } catch {
    // Unreadable bytes are shown one by one.
    throw invalidToken(complaintOf(bytes.toString('latin1')));
  }
  if (token === null || typeof token !== 'object' || token.v !== tokenVersion) {
    throw invalidToken(`server does not recognize this encoded version ${JSON.stringify(token?.v ?? '')}`);
  }
  const { rv, start } = token;
  if (typeof rv !== 'number' || !Number.isSafeInteger(rv) || rv === 0 || rv < -1) {
    throw invalidToken(`incorrect encoded start resourceVersion (version ${tokenVersion})`);
  }
  if (typeof start !== 'string' || start === '') throw invalidToken(`encoded start key empty (version ${tokenVersion})`);
  return { revision: rv, after: withoutEnd(start).replace(/^\//, '') };
}

function complaintOf(text: string): string {
  try {
    parseJson(text);
  } catch (err) {
    if (err instanceof JsonError) return err.message;
    throw err;
  }
  return 'invalid UTF-8';
}

/** The start of the next page is the smallest key after the last one. */
const withoutEnd = (start: string): string => (start.endsWith('\u0000') ? start.slice(0, -1) : start);

const invalidToken = (why: string): Error => badRequest(`invalid continue token: continue key is not valid: ${why}`);
