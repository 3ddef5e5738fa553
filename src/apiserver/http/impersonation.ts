import type { IncomingMessage } from 'node:http';
import { badRequest } from '../../machinery/status-error.ts';
import type { Authorizer } from '../authorizer.ts';
import type { RequestAttributes } from '../kube-api.ts';
import { serviceAccountGroups } from '../service-account-tokens.ts';
import type { UserInfo } from '../user.ts';

/**
 * Acting as another user (`kubectl --as`). For the user and for each group, uid and extra field the client needs the
 * verb `impersonate`, which covers all requests. Otherwise it needs both `impersonate:MODE` and, on the resource of the
 * request, `impersonate-on:MODE:VERB`.
 *
 * @see Kubernetes, "User impersonation", and KEP-5284 "Constrained impersonation"
 */

const prefix = 'impersonate-';
const extraPrefix = 'impersonate-extra-';
const authenticationGroup = 'authentication.k8s.io';
const accountPrefix = 'system:serviceaccount:';
const nodePrefix = 'system:node:';

/** Values of all headers together; each is one question to the authorizer. */
const maxValues = 200;

interface Wanted {
  readonly user: string;
  readonly groups: readonly string[];
  readonly uid: string | undefined;
  readonly extra: ReadonlyMap<string, readonly string[]>;
}

export interface ImpersonationOptions {
  readonly request: Pick<IncomingMessage, 'headers' | 'headersDistinct'>;
  /** The authenticated user. */
  readonly user: UserInfo;
  readonly authorizer: Pick<Authorizer, 'authorize' | 'decide'>;
  attributes(): RequestAttributes;
}

/**
 * The impersonated user; undefined when the request has no such headers.
 *
 * @throws StatusError `Forbidden`, or `BadRequest` for headers that make no sense
 */
export function impersonatedUser({ request, user, authorizer, attributes }: ImpersonationOptions): UserInfo | undefined {
  if (!Object.keys(request.headers).some((name) => name.startsWith(prefix))) return undefined;
  const wanted = wantedUser(request);
  let mode: Mode | undefined;
  const always = questionsOf(wanted, 'impersonate', { serviceaccounts: '', users: '', groups: '' });
  if (!always.every((question) => authorizer.decide(user, question).allowed)) {
    mode = modeOf(wanted.user);
    const asked = attributes();
    authorizer.authorize(user, { ...asked, verb: `impersonate-on:${mode}:${asked.verb}` });
    for (const question of questionsOf(wanted, `impersonate:${mode}`, {
      serviceaccounts: authenticationGroup,
      users: authenticationGroup,
      groups: authenticationGroup,
    })) {
      authorizer.authorize(user, question);
    }
  }
  return becoming(wanted, mode);
}

function wantedUser({ headers, headersDistinct }: ImpersonationOptions['request']): Wanted {
  const valuesOf = (name: string): readonly string[] => headersDistinct[name] ?? [];
  const [user = '', ...others] = valuesOf('impersonate-user');
  const [uid, ...otherUids] = valuesOf('impersonate-uid');
  if (user === '') throw badRequest('the Impersonate-Group, Impersonate-Uid and Impersonate-Extra headers need Impersonate-User');
  if (others.length > 0 || otherUids.length > 0) throw badRequest('Impersonate-User and Impersonate-Uid can be given once');
  const extra = new Map<string, readonly string[]>();
  for (const name of Object.keys(headers)) {
    if (!name.startsWith(extraPrefix)) continue;
    extra.set(decoded(name.slice(extraPrefix.length)), valuesOf(name));
  }
  const groups = valuesOf('impersonate-group');
  if (groups.length + [...extra.values()].flat().length > maxValues) throw badRequest('too many Impersonate headers');
  return { user, groups, uid, extra };
}

function decoded(key: string): string {
  try {
    return decodeURIComponent(key);
  } catch {
    // As upstream: an invalid escape is read literally.
    return key;
  }
}

type Mode = 'serviceaccount' | 'arbitrary-node' | 'user-info';

const modeOf = (name: string): Mode =>
  accountOf(name) !== undefined ? 'serviceaccount' : name.startsWith(nodePrefix) ? 'arbitrary-node' : 'user-info';

function accountOf(user: string): { readonly namespace: string; readonly name: string } | undefined {
  if (!user.startsWith(accountPrefix)) return undefined;
  const [namespace = '', name = '', ...rest] = user.slice(accountPrefix.length).split(':');
  return namespace === '' || name === '' || rest.length > 0 ? undefined : { namespace, name };
}

/** Permissions to check, as requests for virtual resources. */
function questionsOf(
  { user, groups, uid, extra }: Wanted,
  verb: string,
  apiGroups: Readonly<Record<'serviceaccounts' | 'users' | 'groups', string>>,
): readonly RequestAttributes[] {
  const account = accountOf(user);
  const questions: RequestAttributes[] = [];
  if (account !== undefined) questions.push({ verb, group: apiGroups.serviceaccounts, resource: 'serviceaccounts', ...account });
  else if (verb === 'impersonate:arbitrary-node') {
    questions.push({ verb, group: authenticationGroup, resource: 'nodes', name: user.slice(nodePrefix.length) });
  } else questions.push({ verb, group: apiGroups.users, resource: 'users', name: user });
  for (const name of groups) questions.push({ verb, group: apiGroups.groups, resource: 'groups', name });
  if (uid !== undefined) questions.push({ verb, group: authenticationGroup, resource: 'uids', name: uid });
  for (const [key, values] of extra) {
    for (const name of values) questions.push({ verb, group: authenticationGroup, resource: 'userextras', subresource: key, name });
  }
  return questions;
}

/** `mode` is undefined when the plain verb `impersonate` allowed it, which makes nobody a node who does not name the group. */
function becoming({ user, groups, uid, extra }: Wanted, mode: Mode | undefined): UserInfo {
  const account = accountOf(user);
  const own =
    groups.length > 0
      ? groups
      : account !== undefined
        ? serviceAccountGroups(account.namespace)
        : mode === 'arbitrary-node'
          ? ['system:nodes']
          : [];
  const anonymous = user === 'system:anonymous';
  const everyone = anonymous ? 'system:unauthenticated' : 'system:authenticated';
  const isComplete = own.includes('system:authenticated') || own.includes('system:unauthenticated');
  return {
    name: user,
    groups: isComplete ? own : [...own, everyone],
    ...(uid === undefined ? {} : { uid }),
    ...(extra.size === 0 ? {} : { extra: Object.fromEntries(extra) }),
  };
}
