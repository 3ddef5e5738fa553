import type { Server } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Log } from '../base/log.ts';
import { isStatusError } from '../machinery/status-error.ts';
import { type Access, cookieName, type Identity, identitySessionMs, isFormToken, sessionMs } from './access.ts';
import { contentTypes, refuse, sendText } from './answers.ts';
import { readForm } from './form.ts';
import type { UserApi } from './user-api.ts';

export const loginPath = '/login';
/** An API user who may GET this path, which is no resource, reads the page where it asks for a login. */
const pageRight = '/midship.dev/v1/page';

export interface LoginOptions {
  readonly access: Access;
  readonly log: Log;
  readonly scheme: 'http' | 'https';
  /** Absent: users of the API cannot log in. */
  readonly userApi: UserApi | undefined;
  /** The page itself asks for a login. */
  readonly isClosed: boolean;
  port(): number;
  /** Path that logs in the owner of the data directory. */
  newOwnerLink(): string;
  newReaderLink(): string;
  /** The page with the form; `problem` is empty at first. */
  renderForm(request: FastifyRequest, problem: string): string;
}

/** Addresses by which browsers get and end sessions. */
export function addLogin(app: FastifyInstance<Server>, options: LoginOptions): void {
  const { access, log, scheme, userApi, isClosed, port, newOwnerLink, newReaderLink, renderForm } = options;

  const enter = (reply: FastifyReply, session: string | undefined): Promise<FastifyReply> => {
    if (session !== undefined) reply.header('Set-Cookie', cookieOf(session, access, { port: port(), scheme, request: reply.request }));
    // Away from the address that carries the secret, and nowhere else than here.
    return sendText(reply.code(303).header('Location', '/'), contentTypes.text, 'Logged in.\n');
  };
  const showForm = (reply: FastifyReply, problem = ''): Promise<FastifyReply> =>
    sendText(reply, contentTypes.html, renderForm(reply.request, problem));

  // HEAD, which a preview may send, would use up the link.
  app.get<{ Querystring: { token?: unknown } }>(loginPath, { exposeHeadRoute: false }, (request, reply) => {
    const { token } = request.query;
    // The address carries a secret, which no other site may learn.
    reply.header('Referrer-Policy', 'no-referrer');
    if (token === undefined && userApi !== undefined) {
      reply.header('Referrer-Policy', 'same-origin');
      return showForm(reply);
    }
    const session = typeof token === 'string' ? access.logIn(token, request.ip) : undefined;
    const isLoggedIn = session !== undefined || access.session(request.headers.cookie, request.ip) !== undefined;
    if (!isLoggedIn) return refuseLogin(reply, { access, isAttempt: token !== undefined, log });
    return enter(reply, session);
  });

  app.post(loginPath, async (request, reply) => {
    if (userApi === undefined) return reply.callNotFound();
    if (scheme === 'http' && !isLocal(request.ip)) {
      return showForm(reply.code(403), 'Not sent on: without HTTPS a token can be read on the way. Start with --http-tls.');
    }
    const token = (await readForm(request.raw)).get('token')?.trim() ?? '';
    // A text that is no word cannot be a header, either.
    const identity = /^[\x21-\x7e]{1,16384}$/.test(token) ? await identityOf(userApi, token) : undefined;
    if (identity === undefined) {
      if (access.failed(request.ip)) return tooMany(reply);
      log.warn({ address: request.ip }, 'Refused login');
      return showForm(reply.code(401), 'The API does not know this token.');
    }
    if (isClosed && !(await userApi.mayGet(identity, pageRight))) {
      return showForm(reply.code(403), `${identity.name} may not read the page: it takes the right to GET ${pageRight}.`);
    }
    return enter(reply, access.openSession(identity, request.ip));
  });

  app.post('/logout', async (request, reply) => {
    const session = access.session(request.headers.cookie, request.ip);
    if (session !== undefined && !isFormToken(session, (await readForm(request.raw)).get('form'))) {
      return refuse(reply, 403, 'The form is not of this session. Load the page again.');
    }
    access.logOut(request.headers.cookie);
    reply.header('Set-Cookie', `${cookieName(port())}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict`);
    return sendText(reply.code(303).header('Location', '/'), contentTypes.text, 'Logged out.\n');
  });

  app.post(`${loginPath}/links`, (request, reply) => {
    const { authorization } = request.headers;
    const answer = (path: string): Promise<FastifyReply> => sendText(reply.code(201), contentTypes.json, `${JSON.stringify({ path })}\n`);
    if (access.hasOwnerToken(authorization)) return answer(newOwnerLink());
    // A session must not make more sessions: it would never end.
    if (access.hasToken(authorization)) return answer(newReaderLink());
    if (access.failed(request.ip)) return tooMany(reply);
    return refuse(reply, 403, 'Only the tokens of the data directory make links.');
  });
}

/** @throws StatusError when the API cannot be asked */
async function identityOf(userApi: UserApi, token: string): Promise<Identity | undefined> {
  try {
    const credentials = { token };
    const name = await userApi.whoIs(credentials);
    return name === '' || name === 'system:anonymous' ? undefined : { name, credentials };
  } catch (err) {
    if (isStatusError(err) && (err.code === 401 || err.code === 403)) return undefined;
    throw err;
  }
}

function cookieOf(
  session: string,
  access: Access,
  { port, scheme, request }: { readonly port: number; readonly scheme: 'http' | 'https'; readonly request: FastifyRequest },
): string {
  const cookie = `${cookieName(port)}=${session}`;
  const lifeMs = access.session(cookie, request.ip)?.identity === undefined ? sessionMs : identitySessionMs;
  return `${cookie}; Path=/; Max-Age=${lifeMs / 1_000}; HttpOnly; SameSite=Strict${scheme === 'https' ? '; Secure' : ''}`;
}

const isLocal = (address: string): boolean => address === '::1' || /^(::ffff:)?127\.\d+\.\d+\.\d+$/.test(address);

const tooMany = (reply: FastifyReply): Promise<FastifyReply> =>
  refuse(reply.header('Retry-After', '60'), 429, 'Too many wrong tokens and links; try again in a minute.');

export interface RefuseLoginOptions {
  readonly access: Access;
  /** A token or link was given. */
  readonly isAttempt: boolean;
  readonly log: Log;
}

/** Says how to log in; a wrong token or link is counted, and too many are too many. */
export function refuseLogin(reply: FastifyReply, { access, isAttempt, log }: RefuseLoginOptions): Promise<FastifyReply> {
  const { request } = reply;
  if (isAttempt && access.failed(request.ip)) return tooMany(reply);
  if (isAttempt) log.warn({ address: request.ip }, 'Refused login');
  reply.header('WWW-Authenticate', 'Bearer realm="midship"');
  return refuse(
    reply,
    401,
    'The page asks for a login: run "midship page-url" on its machine, and open the link that it prints.\nPrograms send the token of the file page-token in its data directory as a bearer token.',
  );
}
