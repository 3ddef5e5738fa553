import { userInfo } from 'node:os';
import { selfSubjectReviews } from '../api/authentication/v1/self-subject-review.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { nearest } from '../base/nearest.ts';
import type { Client } from '../client/client.ts';
import { createHttpClient } from '../client/http-client.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { SourceError } from '../gitops/sources/git-source.ts';
import { isNotFound, isStatusError, type StatusError } from '../machinery/status-error.ts';
import { readEndpoints } from './data-directory.ts';
import { Failure } from './failure.ts';
import type { Format } from './output.ts';

/** The commands about apps talk to a cluster through its public API, as kubectl does: the running one, or that of a kubeconfig. */
export interface AppCommand {
  readonly dataDirectory: string;
  /** A kubeconfig to use in place of the running cluster's, and a context of it. */
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly output: NodeJS.WritableStream;
  readonly format: Format;
  readonly version: string;
}

/** Where apps live that `up` creates, and where the examples put theirs. */
const defaultNamespace = 'flux-system';
export const fieldManager = 'midship-cli';

/** Runs `action` against the cluster; what goes wrong there is said as what, why and fix. */
export async function withClient<T>(command: AppCommand, action: (client: Client) => Promise<T>): Promise<T> {
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

function explainKubeconfig(err: unknown): never {
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
      return new Failure(`${server} does not answer`, { why: err.message, fix: 'Is the cluster running? See: midship status', cause });
    default:
      return new Failure(err.message, {
        why: `${server} answered ${err.code} ${err.reason}.`,
        fix: 'Correct the request and try again.',
        cause,
      });
  }
}

/** `APP` or `NAMESPACE/APP`. */
export function refOfApp(app: string): { readonly namespace: string; readonly name: string } {
  const [first = '', second] = app.split('/');
  return second === undefined ? { namespace: defaultNamespace, name: first } : { namespace: first, name: second };
}

export async function findApp(client: Client, app: string): Promise<Kustomization> {
  const ref = refOfApp(app);
  try {
    return await client.get(kustomizations, ref);
  } catch (err) {
    if (!isNotFound(err)) throw err;
    const { items } = await client.list(kustomizations, { namespace: ref.namespace });
    const names = items.map(({ metadata }) => metadata.name);
    const meant = nearest(ref.name, names);
    throw new Failure(`no app ${ref.name} in namespace ${ref.namespace}`, {
      why: names.length === 0 ? 'There are no apps there.' : `Apps there: ${names.join(', ')}.`,
      fix: `${meant === undefined ? '' : `Did you mean ${meant}? `}See: midship get apps`,
      cause: err,
    });
  }
}

/** Who is asking: the user that the cluster knows, and the one of this machine, since many share the first. */
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
