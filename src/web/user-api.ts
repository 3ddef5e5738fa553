import { selfSubjectReviews } from '../api/authentication/v1/self-subject-review.ts';
import { selfSubjectAccessReviews } from '../api/authorization/v1/self-subject-access-review.ts';
import type { Pod } from '../api/core/v1/pod.ts';
import { resumeRequest, suspendRequest, syncRequest } from '../api/kustomize/v1/app-requests.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../api/source/v1/git-repository.ts';
import type { Clock } from '../base/clock.ts';
import { inPreferredVersion } from '../client/client.ts';
import { createHttpClient, type HttpClient, type HttpClientOptions, type LogOptions } from '../client/http-client.ts';
import { tryGet } from '../client/try-get.ts';
import type { DynamicObject, ObjectRef } from '../machinery/object.ts';
import { apiVersionOf, type Resource } from '../machinery/resource.ts';
import type { Identity } from './access.ts';

/** Names an object as an inventory does. */
export interface ObjectName {
  readonly group: string;
  readonly kind: string;
  /** Empty for objects of the cluster. */
  readonly namespace: string;
  readonly name: string;
}

export const appActions = ['sync', 'suspend', 'resume'] as const;
export type AppAction = (typeof appActions)[number];

/**
 * The API as a user of the page has it: over HTTPS, with the user's own credentials. Authorization, admission and the audit log see the
 * user, and the page adds no right of its own.
 */
export interface UserApi {
  /** The name of the user. @throws StatusError 401 for credentials that the API does not know */
  whoIs(credentials: Identity['credentials']): Promise<string>;
  /** True when the user may GET a path that is no resource. */
  mayGet(identity: Identity, path: string): Promise<boolean>;
  /** Undefined when there is no such object, or no such kind. @throws StatusError 403 when the user may not read it */
  read(identity: Identity, name: ObjectName): Promise<DynamicObject | undefined>;
  /** True for each object that the user may read, in their order. */
  mayRead(identity: Identity, names: readonly ObjectKind[]): Promise<readonly boolean[]>;
  /** The text of a log that ends, cut at its bound. */
  readLog(identity: Identity, log: LogRequest): Promise<string>;
  /** Calls `onText` with what comes until the container ends or `signal` is aborted. */
  followLog(identity: Identity, log: LogRequest, onText: (text: string) => void): Promise<void>;
  act(identity: Identity, action: AppAction, app: ObjectRef): Promise<void>;
}

/** An object as texts name it: the group is not known. */
export type ObjectKind = Omit<ObjectName, 'group'>;

export interface LogRequest extends Pick<LogOptions, 'container' | 'previous' | 'tailLines' | 'signal'> {
  readonly pod: ObjectRef;
}

export interface UserApiOptions extends Pick<HttpClientOptions, 'server' | 'caCertificate' | 'serverName'> {
  readonly clock: Clock;
  /** `midship-page/0.1.0` */
  readonly userAgent: string;
}

const fieldManager = 'midship-page';
/** Bound of a log that is shown at once; the rest is left out. */
const maxLogBytes = 1024 * 1024;
const timeoutMs = 10_000;

export function createUserApi({ clock, userAgent, ...server }: UserApiOptions): UserApi {
  /** A client for one request of the page: what a user has ends with the session, and no connection outlives it. */
  async function withClient<T>(credentials: Identity['credentials'], use: (client: HttpClient) => Promise<T>): Promise<T> {
    const client = createHttpClient({ ...server, ...credentials, userAgent, clock });
    try {
      return await use(client);
    } finally {
      client.close();
    }
  }

  return {
    whoIs: (credentials) => withClient(credentials, askName),
    mayGet: ({ credentials }, path) => withClient(credentials, (client) => mayDo(client, { nonResourceAttributes: { path, verb: 'get' } })),
    read: ({ credentials }, { group, kind, namespace, name }) =>
      withClient(credentials, async (client) => {
        const resource = await resourceOf(client, group, kind);
        if (resource === undefined) return undefined;
        return tryGet<DynamicObject>(client, resource, resource.namespaced ? { namespace, name } : { name });
      }),
    mayRead: ({ credentials }, names) => withClient(credentials, (client) => mayReadAll(client, names)),
    readLog: ({ credentials }, { pod, ...log }) =>
      withClient(credentials, async (client) => {
        const signal = AbortSignal.any([log.signal, AbortSignal.timeout(timeoutMs)]);
        const chunks: Buffer[] = [];
        for await (const chunk of await client.openLog(pod, { ...log, signal, limitBytes: maxLogBytes, follow: false })) chunks.push(chunk);
        return Buffer.concat(chunks).toString('utf8');
      }),
    followLog: ({ credentials }, { pod, ...log }, onText) =>
      withClient(credentials, async (client) => {
        const decoder = new TextDecoder();
        for await (const chunk of await client.openLog(pod, { ...log, follow: true })) onText(decoder.decode(chunk, { stream: true }));
      }),
    act: ({ credentials, name }, action, app) =>
      withClient(credentials, async (client) => {
        switch (action) {
          case 'sync':
            return sync(client, app, clock.now());
          case 'suspend':
            await patchApp(client, app, suspendRequest({ by: name }));
            return;
          case 'resume':
            await patchApp(client, app, resumeRequest());
            return;
          default:
            return action satisfies never;
        }
      }),
  };
}

async function askName(client: HttpClient): Promise<string> {
  const review = { apiVersion: apiVersionOf(selfSubjectReviews), kind: selfSubjectReviews.kind, metadata: {} };
  return (await client.create(selfSubjectReviews, review)).status?.userInfo.username ?? '';
}

const patchApp = (client: HttpClient, app: ObjectRef, body: object): Promise<Kustomization> =>
  client.patch(kustomizations, app, { type: 'merge', body }, { fieldManager });

/** As `midship sync`: the source first, so that the app gets the newest commit. A source of another kind is left alone. */
async function sync(client: HttpClient, app: ObjectRef, now: number): Promise<void> {
  const body = syncRequest(new Date(now).toISOString());
  const { sourceRef } = (await client.get(kustomizations, app)).spec;
  if (sourceRef.kind === gitRepositories.kind) {
    const source = { namespace: sourceRef.namespace ?? app.namespace, name: sourceRef.name };
    await client.patch(gitRepositories, source, { type: 'merge', body }, { fieldManager });
  }
  await patchApp(client, app, body);
}

type Attributes = Parameters<typeof reviewOf>[0];

const reviewOf = (attributes: {
  readonly nonResourceAttributes?: { readonly path: string; readonly verb: string };
  readonly resourceAttributes?: {
    readonly group: string;
    readonly resource: string;
    readonly namespace: string;
    readonly name: string;
    readonly verb: string;
  };
}) => ({
  apiVersion: apiVersionOf(selfSubjectAccessReviews),
  kind: selfSubjectAccessReviews.kind,
  metadata: {},
  spec: attributes,
});

const mayDo = async (client: HttpClient, attributes: Attributes): Promise<boolean> =>
  (await client.create(selfSubjectAccessReviews, reviewOf(attributes))).status?.allowed === true;

/** In the version that the server prefers. */
async function resourceOf(client: HttpClient, group: string, kind: string): Promise<Resource<DynamicObject> | undefined> {
  const all = inPreferredVersion(await client.discover());
  return all.find((each) => each.group === group && each.kind === kind) as Resource<DynamicObject> | undefined;
}

/** A kind of two groups counts as readable when both are. */
async function mayReadAll(client: HttpClient, names: readonly ObjectKind[]): Promise<readonly boolean[]> {
  const all = inPreferredVersion(await client.discover());
  const known = new Map<string, Promise<boolean>>();
  const ask = (attributes: NonNullable<Attributes['resourceAttributes']>): Promise<boolean> => {
    const key = JSON.stringify(attributes);
    const answer = known.get(key) ?? mayDo(client, { resourceAttributes: attributes });
    known.set(key, answer);
    return answer;
  };
  const answers: boolean[] = [];
  for (const { kind, namespace, name } of names) {
    const resources = all.filter((each) => each.kind === kind);
    const each = await Promise.all(resources.map(({ group, resource }) => ask({ group, resource, namespace, name, verb: 'get' })));
    answers.push(each.length > 0 && each.every((isAllowed) => isAllowed));
  }
  return answers;
}

/** The containers of a pod, those that run once included. */
export const containersOf = ({ spec }: Pod): readonly string[] =>
  [...(spec.initContainers ?? []), ...spec.containers].map(({ name }) => name);
