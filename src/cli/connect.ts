import { userInfo } from 'node:os';
import { selfSubjectReviews } from '../api/authentication/v1/self-subject-review.ts';
import { nodes } from '../api/core/v1/node.ts';
import { noControllerText } from '../api/kinds-without-controller.ts';
import { defaultAppNamespace, nameOfApp } from '../api/kustomize/v1/app-name.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { ingressClasses } from '../api/networking/v1/ingress-class.ts';
import { enforcesPoliciesEverywhere } from '../api/policy-enforcement.ts';
import { nearest } from '../base/nearest.ts';
import type { Client } from '../client/client.ts';
import { createHttpClient, type HttpClient } from '../client/http-client.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { tryGet } from '../client/try-get.ts';
import { SourceError } from '../gitops/sources/git-source.ts';
import { type KubeObject, keyOf, type ObjectRef } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { isForbidden, isStatusError, type StatusError } from '../machinery/status-error.ts';
import { readEndpoints } from './data-directory.ts';
import { Failure } from './failure.ts';
import type { Format } from './format.ts';

/** The commands about apps talk to a cluster through its public API, as kubectl does: the running one, or that of a kubeconfig. */
export interface AppCommand {
  readonly dataDirectory: string;
  /** A kubeconfig to use in place of the running cluster's, and a context of it. */
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  /** `-n`: where the app is; undefined: where it is found. */
  readonly namespace?: string | undefined;
  readonly output: NodeJS.WritableStream;
  readonly format: Format;
  readonly version: string;
}

export const fieldManager = 'midship-cli';

/** Runs `action` against the cluster; what goes wrong there is said as what, why and fix. */
export async function withClient<T>(command: Omit<AppCommand, 'format'>, action: (client: HttpClient) => Promise<T>): Promise<T> {
  const path = command.kubeconfig ?? (await readEndpoints(command.dataDirectory)).kubeconfig;
  const connection = await loadKubeconfig(path, command.context).catch(explainKubeconfig);
  const client = createHttpClient({ ...connection, userAgent: `midship/${command.version}` });
  try {
    return await action(client);
  } catch (err) {
    return explain(err, connection.server);
  } finally {
    client.close();
  }
}

/** Says of objects that nothing acts on them; undefined on a cluster of somebody else, which has the controllers of Kubernetes. */
export async function noControllerTextAt(client: HttpClient): Promise<((object: KubeObject) => string | undefined) | undefined> {
  const { gitVersion } = await client.serverVersion();
  if (!gitVersion.includes('+midship.')) return undefined;
  // A user without the right to read these has the app's status, where the engine says the same.
  const readable = <T extends KubeObject>(resource: Resource<T>): Promise<readonly T[] | undefined> =>
    client.list(resource).then(
      ({ items }) => items,
      (err: unknown) => {
        if (isForbidden(err)) return undefined;
        throw err;
      },
    );
  const [allNodes, classes] = await Promise.all([readable(nodes), readable(ingressClasses)]);
  const areEnforced = allNodes === undefined || enforcesPoliciesEverywhere(allNodes);
  return (object) => noControllerText(object, { arePoliciesEnforced: () => areEnforced, ingressClasses: () => classes });
}

/** @throws Failure for a kubeconfig that cannot be used, and any other error as it is */
export function explainKubeconfig(err: unknown): never {
  if (!(err instanceof Error && 'hint' in err && typeof err.hint === 'string')) throw err;
  throw new Failure(err.message, { why: 'The cluster cannot be reached with it.', fix: err.hint, cause: err });
}

function explain(err: unknown, server: string): never {
  if (err instanceof SourceError) throw new Failure(err.message, { why: 'The repository cannot be read.', fix: err.hint, cause: err });
  if (isStatusError(err)) throw explainStatus(err, server);
  throw err;
}

function explainStatus(err: StatusError, server: string): Failure {
  const cause = err;
  switch (err.code) {
    case 401:
      return new Failure(`${server} refused the credentials`, {
        why: err.message,
        fix: 'Give a kubeconfig with a valid certificate or token: --kubeconfig FILE',
        cause,
      });
    case 403:
      return new Failure(err.message, {
        why: 'The user of the kubeconfig may not do that.',
        fix: 'Ask for the right, or use another --context.',
        cause,
      });
    case 404:
      return new Failure(err.message, { why: `${server} has no such object or kind.`, fix: 'See: midship get apps', cause });
    case 503:
      return new Failure(`${server} does not answer`, {
        why: err.message,
        fix: /certificate/.test(err.message)
          ? 'Give the kubeconfig the certificate-authority-data of that server.'
          : 'Is the cluster running, and is that its address? See: midship status',
        cause,
      });
    default:
      return new Failure(err.message, {
        why: `${server} answered ${err.code} ${err.reason}.`,
        fix: 'Correct the request and try again.',
        cause,
      });
  }
}

/**
 * The app that `APP` or `NAMESPACE/APP` names. A name alone is looked for in `namespace`; without one in the default namespace, and then
 * in all of them.
 *
 * @throws Failure when there is none, or several namespaces have one
 */
export async function findApp(client: Client, app: string, namespace?: string): Promise<Kustomization> {
  const found = await tryApp(client, app, namespace);
  if (found !== undefined) return found;
  const { namespace: place, name } = partsOf(app, namespace);
  const { items } = await client.list(kustomizations, place === undefined ? {} : { namespace: place });
  const names = items.map(({ metadata }) => (place === undefined ? nameOfApp(metadata) : metadata.name));
  const meant = nearest(name, names);
  throw new Failure(`no app ${name}${place === undefined ? '' : ` in namespace ${place}`}`, {
    why: names.length === 0 ? 'There are no apps there.' : `Apps there: ${listed(names)}.`,
    fix: `${meant === undefined ? '' : `Did you mean ${meant}? `}See: midship get apps`,
  });
}

/** The same; undefined when there is none. */
export async function tryApp(client: Client, app: string, namespace?: string): Promise<Kustomization | undefined> {
  const { namespace: place, name } = partsOf(app, namespace);
  const found = await tryGet(client, kustomizations, { namespace: place ?? defaultAppNamespace, name });
  if (found !== undefined || place !== undefined) return found;
  const { items } = await client.list(kustomizations, { fieldSelector: `metadata.name=${name}` });
  if (items.length > 1) {
    throw new Failure(`${items.length} apps are called ${name}`, {
      why: `They are ${listed(items.map(keyOf))}.`,
      fix: 'Say which: NAMESPACE/APP, or -n NAMESPACE',
    });
  }
  return items[0];
}

/** `NAME` or `NAMESPACE/NAME` of a GitRepository. */
export function refOfSource(source: string, namespace: string | undefined): ObjectRef {
  const parts = partsOf(source, namespace);
  return { ...parts, namespace: parts.namespace ?? defaultAppNamespace };
}

function partsOf(app: string, namespace: string | undefined): { readonly namespace: string | undefined; readonly name: string } {
  const parts = app.split('/');
  const [first = '', second] = parts;
  if (parts.length > 2 || parts.includes('')) {
    throw new Failure(`${JSON.stringify(app)} names nothing`, {
      why: 'It is named NAME or NAMESPACE/NAME.',
      fix: 'See: midship get apps',
    });
  }
  return second === undefined ? { namespace, name: first } : { namespace: first, name: second };
}

const maxListed = 20;
const listed = (names: readonly string[]): string =>
  `${names.slice(0, maxListed).join(', ')}${names.length > maxListed ? ` and ${names.length - maxListed} more` : ''}`;

/** The user that the cluster knows, and the one of this machine, since many share the first. */
export async function whoAmI(client: Client): Promise<string> {
  const review = await client.create(selfSubjectReviews, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'SelfSubjectReview',
    metadata: {},
  });
  const user = review.status?.userInfo.username ?? '';
  const local = localUser();
  return local === '' || local === user ? user : `${local} (${user})`;
}

function localUser(): string {
  try {
    return userInfo().username;
  } catch {
    // A process may run as a number that has no name.
    return '';
  }
}
