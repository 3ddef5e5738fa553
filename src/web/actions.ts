import type { Server } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { Log } from '../base/log.ts';
import { plain } from '../base/plain-text.ts';
import { isStatusError } from '../machinery/status-error.ts';
import { type Access, isFormToken } from './access.ts';
import { contentTypes, refuse, sendText } from './answers.ts';
import { readForm } from './form.ts';
import { appPath } from './page-model.ts';
import { appActions, type UserApi } from './user-api.ts';

export interface ActionOptions {
  readonly access: Access;
  readonly userApi: UserApi;
  readonly log: Log;
  redact(text: string): string;
}

/**
 * Buttons that change an app. A request has to carry the session of a user and the secret of its forms; the guard of the port has compared
 * its origin. The API then decides whether the user may.
 */
export function addActions(app: FastifyInstance<Server>, { access, userApi, log, redact }: ActionOptions): void {
  app.post<{ Params: { namespace: string; name: string; action: string } }>('/apps/:namespace/:name/:action', async (request, reply) => {
    const { namespace, name } = request.params;
    const action = appActions.find((each) => each === request.params.action);
    if (action === undefined) return reply.callNotFound();
    const session = access.session(request.headers.cookie, request.ip);
    if (session?.identity === undefined) return refuse(reply, 401, 'Log in as a user of the API first: /login');
    if (!isFormToken(session, (await readForm(request.raw)).get('form'))) {
      return refuse(reply, 403, 'The form is not of this session. Load the page again.');
    }
    const { identity } = session;
    try {
      await userApi.act(identity, action, { namespace, name });
    } catch (err) {
      if (!isStatusError(err) || err.code >= 500) throw err;
      log.info({ user: identity.name, kustomization: `${namespace}/${name}`, action, code: err.code }, 'Refused action of page');
      return refuse(reply, err.code, redact(plain(`The API refuses to ${action} ${name}: ${err.message}`)));
    }
    log.info({ user: identity.name, kustomization: `${namespace}/${name}`, action }, 'Acted for user of page');
    return sendText(reply.code(303).header('Location', appPath(namespace, name)), contentTypes.text, 'Done.\n');
  });
}
