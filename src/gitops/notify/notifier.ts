import { unescape as unescaped } from 'node:querystring';
import { secrets } from '../../api/core/v1/secret.ts';
import { parseDuration } from '../../api/flux.ts';
import { attemptsOf } from '../../api/kustomize/v1/attempt.ts';
import { type Kustomization, kustomizations } from '../../api/kustomize/v1/kustomization.ts';
import { type Alert, alerts } from '../../api/notification/v1beta3/alert.ts';
import { type Provider, providers } from '../../api/notification/v1beta3/provider.ts';
import { type GitRepository, gitRepositories } from '../../api/source/v1/git-repository.ts';
import { sleep } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import { untilAborted } from '../../base/concurrency.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { Informer } from '../../client/informer.ts';
import { type KubeObject, keyOf } from '../../machinery/object.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import { parseYamlDocuments, YamlError } from '../../machinery/yaml.ts';
import { type Controller, createController, type Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { type ValuesRef, watchValues } from '../../reconcile/watched-values.ts';
import { readHistory } from '../apply/records/history.ts';
import type { ProxyAccess, RemoteAccess } from '../sources/remote-access.ts';
import { badPattern, isAbout, wants } from './alert-filter.ts';
import { type Access, PostError, post } from './http-post.ts';
import { type Credentials, messageTo, ProviderProblem, setsCommitStatus, textOf } from './message.ts';
import { isNews, type Notice, nameOfNotice, noticeOfApp, noticeOfRepository, type Verdict } from './notice.ts';
import { createSendRate } from './send-rate.ts';
import { createSentNotices } from './sent-notices.ts';

export interface NotifierOptions extends ControllerDependencies {
  /** Registry of `/metrics/gitops`. */
  readonly gitopsMetrics: Metrics;
  readonly random: () => number;
  /** Alerts, providers, apps and repositories that are meant; all of the cluster by default. */
  readonly labelSelector?: string | undefined;
}

const defaultTimeoutMs = 15_000;
const maxTimeoutMs = 60_000;
/** Tries of one message, over some 25 minutes; then it is dropped, with an Event. */
const maxTries = 12;
const minRetryMs = 1_000;
const maxRetryMs = 5 * 60_000;
const jitter = 0.2;
/** Messages under way at the same time, of all providers. */
const workers = 32;
/** Changes of a commit that a message lists. */
const maxDetails = 20;
/** A server without Flux's definitions may get them later. */
const lookAgainMs = 60_000;

/** One object and one alert that may be about it. */
interface Pair {
  readonly alert: Alert;
  readonly subject: Kustomization | GitRepository;
}

/**
 * Notifies providers about apps and repositories. Notices are derived from their status and compared with the last sent
 * ones. A missed event therefore loses nothing, and a restart sends nothing twice. States that end before their turn are
 * skipped.
 */
export function createNotifier(options: NotifierOptions): Component {
  const { client, informers, clock, log, recorder, metrics, gitopsMetrics, random } = options;
  const sentNotices = createSentNotices({ client, clock, log });
  const rate = createSendRate(clock);
  /** Signal of the message that is being sent, by key. */
  const tries = new Map<string, { readonly name: string; readonly count: number; readonly notBefore: number }>();
  const sent = gitopsMetrics.counter({
    name: 'gitops_notifications_total',
    help: 'Messages to providers by what became of them.',
    labelNames: ['type', 'result'],
  });
  for (const type of ['generic', 'generic-hmac', 'slack', 'github', 'gitlab', 'gitea']) {
    for (const result of ['sent', 'failed', 'dropped']) sent.inc({ type, result }, 0);
  }
  const abort = new AbortController();
  let caches: Caches | undefined;
  let controller: Controller | undefined;

  interface Caches {
    readonly alerts: Informer<Alert>;
    readonly providers: Informer<Provider>;
    readonly apps: Informer<Kustomization>;
    readonly repositories: Informer<GitRepository>;
  }

  return {
    name: 'notifications',
    async start() {
      // Nothing waits for it: a cluster without these kinds has no notifications and everything else.
      void startWhenServed();
    },
    async stop() {
      abort.abort(new Error('notifications stop'));
      await controller?.stop();
      await sentNotices.flush();
    },
  };

  async function startWhenServed(): Promise<void> {
    const { signal } = abort;
    try {
      while (!(await isServed())) await sleep(clock, lookAgainMs, signal);
      const opened = openCaches();
      caches = opened;
      controller = createController({
        name: 'notification',
        clock,
        log,
        workers,
        minBackoffMs: minRetryMs,
        maxBackoffMs: maxRetryMs,
        reconcile,
        // A kind that cannot be had is no one else's trouble.
        async waitForSync({ signal: until }) {
          await untilAborted(Promise.all(Object.values(opened).map(({ whenSynced }) => whenSynced)), until);
        },
        observer: metrics.observerOf('notification'),
      });
      followChanges(opened, controller);
      await controller.start({ signal });
    } catch (err) {
      if (!signal.aborted) log.error({ err }, 'Could not start notifications');
    }
  }

  async function isServed(): Promise<boolean> {
    try {
      const served = await client.discover();
      return [alerts, providers].every(({ group, resource }) => served.some((each) => each.group === group && each.resource === resource));
    } catch (err) {
      log.warn({ err }, 'Could not ask for the kinds of notifications');
      return false;
    }
  }

  function openCaches(): Caches {
    const scope = options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector };
    return {
      alerts: informers.get(alerts, scope),
      providers: informers.get(providers, scope),
      apps: informers.get(kustomizations, scope),
      repositories: informers.get(gitRepositories, scope),
    };
  }

  function followChanges(all: Caches, { enqueue }: Controller): void {
    const followSubject = ({ before, after }: { readonly before?: KubeObject; readonly after?: KubeObject }): void => {
      const subject = after ?? before;
      if (subject === undefined) return;
      for (const alert of all.alerts.list()) {
        if (isAbout(alert, subject) || (before !== undefined && isAbout(alert, before))) enqueue(keyFor(alert, subject));
      }
    };
    const enqueueAlert = (alert: Alert): void => {
      // By itself first: what is so already is noted before anything changes.
      enqueue(keyOf(alert));
      for (const informer of [all.apps, all.repositories]) {
        for (const subject of informer.list()) if (isAbout(alert, subject)) enqueue(keyFor(alert, subject));
      }
    };
    all.apps.addHandler(followSubject);
    all.repositories.addHandler(followSubject);
    all.alerts.addHandler(({ before, after }) => {
      if (after === undefined) {
        if (before !== undefined) {
          sentNotices.forget(keyOf(before));
          forgetTries(before);
        }
        return;
      }
      const problem = before?.spec === after.spec ? undefined : badPattern(after);
      if (problem !== undefined) recorder.record(after, { type: 'Warning', reason: 'InvalidAlert', message: problem });
      enqueueAlert(after);
    });
    const enqueueProvider = ({ metadata }: Provider): void => {
      for (const alert of all.alerts.list({ namespace: metadata.namespace })) {
        if (alert.spec.providerRef.name !== metadata.name) continue;
        // Messages that wait because of the provider are sent at once.
        forgetTries(alert);
        enqueueAlert(alert);
      }
    };
    all.providers.addHandler(({ after }) => {
      if (after !== undefined) enqueueProvider(after);
    });
    watchValues({ owners: all.providers, informers, refsOf: secretsOf, onChange: enqueueProvider });
  }

  function forgetTries(alert: Alert): void {
    for (const key of [...tries.keys()]) if (key.startsWith(`${keyOf(alert)}|`)) tries.delete(key);
  }

  async function reconcile(key: string, { signal }: { readonly signal: AbortSignal }): Promise<Result | undefined> {
    if (!key.includes('|')) {
      const alert = caches?.alerts.getByKey(key);
      if (alert !== undefined) await sentNotices.of(alert, () => alreadySo(alert));
      return undefined;
    }
    const pair = findPair(key);
    if (pair === undefined) {
      tries.delete(key);
      await forgetSubject(key);
      return undefined;
    }
    const { alert, subject } = pair;
    const verdict = verdictOf(subject);
    if (verdict === undefined) return undefined;
    if ('lookAgainAfterMs' in verdict) return { requeueAfterMs: verdict.lookAgainAfterMs };
    const { notice } = verdict;
    const record = await sentNotices.of(alert, () => alreadySo(alert));
    const name = nameOfSubject(subject);
    if (!isNews(notice, record.get(name))) return undefined;
    const provider = caches?.providers.get({ namespace: alert.metadata.namespace, name: alert.spec.providerRef.name });
    if (provider === undefined) {
      const message = `provider ${alert.spec.providerRef.name} does not exist`;
      recorder.record(alert, { type: 'Warning', reason: 'ProviderNotFound', message });
      return undefined;
    }
    if (alert.spec.suspend === true || provider.spec.suspend === true) return undefined;
    if (notice.state === 'pending' && !setsCommitStatus(provider)) return undefined;
    const known = tries.get(key);
    const isAgain = known?.name === nameOfNotice(notice);
    const waitForMs = isAgain ? known.notBefore - clock.monotonicMs() : 0;
    if (waitForMs > 0) return Number.isFinite(waitForMs) ? { requeueAfterMs: waitForMs } : undefined;
    const outcome = await describeOutcome(subject, notice);
    if (!wants(alert, notice, textOf({ notice, ...outcome }))) {
      record.set(name, nameOfNotice(notice));
      return undefined;
    }
    const waitMs = rate.take(keyOf(provider), key);
    if (waitMs > 0) return { requeueAfterMs: waitMs };
    try {
      await send({ ...pair, ...outcome, provider, notice, signal }).finally(() => rate.done(keyOf(provider)));
      sent.inc({ type: provider.spec.type, result: 'sent' });
    } catch (err) {
      if (signal.aborted) throw err;
      return handleFailure({
        ...pair,
        key,
        provider,
        notice,
        err,
        count: (isAgain ? known.count : 0) + 1,
        drop: () => record.set(name, nameOfNotice(notice)),
      });
    }
    tries.delete(key);
    record.set(name, nameOfNotice(notice));
    return undefined;
  }

  /** An object that is gone, or that the alert no longer covers, counts as new when it comes back. */
  async function forgetSubject(key: string): Promise<void> {
    const [alertKey = '', kind, subjectKey] = key.split('|');
    const alert = caches?.alerts.getByKey(alertKey);
    if (alert !== undefined) (await sentNotices.of(alert, () => alreadySo(alert))).delete(`${kind}/${subjectKey}`);
  }

  function findPair(key: string): Pair | undefined {
    const [alertKey = '', kind, subjectKey = ''] = key.split('|');
    const alert = caches?.alerts.getByKey(alertKey);
    const subject = kind === kustomizations.kind ? caches?.apps.getByKey(subjectKey) : caches?.repositories.getByKey(subjectKey);
    return alert === undefined || subject === undefined || !isAbout(alert, subject) ? undefined : { alert, subject };
  }

  /** A new alert gets later events, and present failures. */
  function* alreadySo(alert: Alert): Iterable<readonly [string, string]> {
    for (const informer of [caches?.apps, caches?.repositories]) {
      for (const subject of informer?.list() ?? []) {
        const verdict = isAbout(alert, subject) ? verdictOf(subject) : undefined;
        if (verdict !== undefined && 'notice' in verdict && verdict.notice.state === 'success') {
          yield [nameOfSubject(subject), nameOfNotice(verdict.notice)];
        }
      }
    }
  }

  function verdictOf(subject: Kustomization | GitRepository): Verdict {
    return isApp(subject) ? noticeOfApp(subject, clock.now()) : noticeOfRepository(subject);
  }

  interface Sending extends Pair {
    readonly provider: Provider;
    readonly notice: Notice;
  }

  async function send({ signal, ...sending }: Sending & Outcome & { readonly signal: AbortSignal }): Promise<void> {
    const { provider } = sending;
    const { credentials, access } = await accessOf(provider);
    const message = messageTo({ ...sending, credentials, now: clock.now() });
    // A status needs a commit.
    if (message === undefined) return;
    await post(message, { access, timeoutMs: timeoutMsOf(provider), signal });
  }

  interface Outcome {
    readonly details: string;
    readonly author: string;
  }

  /** Changes of the commit to the objects, and its author. */
  async function describeOutcome(subject: Kustomization | GitRepository, { revision, state }: Notice): Promise<Outcome> {
    if (!isApp(subject)) return { details: '', author: '' };
    const author = attemptsOf(subject).find((attempt) => attempt.revision === revision)?.author ?? '';
    if (state !== 'success') return { details: '', author };
    const entry = (await readHistory(client, subject)).findLast((each) => each.revision === revision && each.result === 'applied');
    const lines = (entry?.changes ?? []).map(
      ({ action, object, fields }) => `${object} ${action}${fields.length === 0 ? '' : ` (${fields.join(', ')})`}`,
    );
    const more = lines.length - maxDetails;
    return { details: [...lines.slice(0, maxDetails), ...(more > 0 ? [`… and ${more} more`] : [])].join('\n'), author };
  }

  async function dataOf({ metadata }: Provider, ref: { readonly name: string } | undefined): Promise<SecretData> {
    if (ref === undefined) return {};
    try {
      return (await client.get(secrets, { namespace: metadata.namespace, name: ref.name })).data ?? {};
    } catch (err) {
      if (isNotFound(err)) throw new ProviderProblem('InvalidProvider', `secret ${metadata.namespace}/${ref.name} does not exist`);
      throw err;
    }
  }

  /** Content of a provider's Secrets; a rotated token counts with the next message. */
  async function accessOf(provider: Provider): Promise<{ readonly credentials: Credentials; readonly access: Access }> {
    const { secretRef, certSecretRef, proxySecretRef, proxy: plainProxy } = provider.spec;
    const data = await dataOf(provider, secretRef);
    const headers = textIn(data, 'headers');
    const credentials = {
      address: lineIn(data, 'address'),
      token: lineIn(data, 'token'),
      username: lineIn(data, 'username'),
      headers: headers === undefined ? undefined : parseHeaders(headers),
    };
    const tls = tlsIn(await dataOf(provider, certSecretRef));
    if (certSecretRef !== undefined && tls === undefined) {
      throw new ProviderProblem('InvalidProvider', `secret ${certSecretRef.name} has neither ca.crt nor tls.crt and tls.key`);
    }
    const proxyData = await dataOf(provider, proxySecretRef);
    const proxy = proxySecretRef === undefined ? (plainProxy ?? lineIn(data, 'proxy')) : (lineIn(proxyData, 'address') ?? '');
    return {
      credentials,
      access: {
        // As with Flux, the Secret with the token of a Git server may hold its authority, too.
        ...(tls ?? (setsCommitStatus(provider) ? tlsIn(data) : undefined)),
        ...(proxy === undefined || (proxy === '' && proxySecretRef === undefined) ? {} : { proxy: proxyAt(proxy, proxyData) }),
      },
    };
  }

  interface Failing extends Sending {
    readonly key: string;
    readonly err: unknown;
    readonly count: number;
    /** The message is not tried again. */
    drop(): void;
  }

  function handleFailure({ key, alert, provider, notice, err, count, drop }: Failing): Result | undefined {
    const name = nameOfNotice(notice);
    const { type } = provider.spec;
    if (err instanceof ProviderProblem) {
      // Until the provider, or a Secret that it names, is changed: both are seen.
      tries.set(key, { name, count, notBefore: Number.POSITIVE_INFINITY });
      recorder.record(alert, { type: 'Warning', reason: err.reason, message: `provider ${provider.metadata.name}: ${err.message}` });
      return undefined;
    }
    if (!(err instanceof PostError)) throw err;
    sent.inc({ type, result: 'failed' });
    const message = `provider ${provider.metadata.name}: ${err.message}`;
    if (err.isFinal || count >= maxTries) {
      tries.delete(key);
      drop();
      sent.inc({ type, result: 'dropped' });
      recorder.record(alert, { type: 'Warning', reason: 'NotificationDropped', message: `${message}; not tried again` });
      log.warn({ alert: keyOf(alert), provider: keyOf(provider), why: err.message, tries: count }, 'Dropped notification');
      return undefined;
    }
    if (count === 1) recorder.record(alert, { type: 'Warning', reason: 'NotificationFailed', message: `${message}; tried again` });
    const backoffMs = Math.min(maxRetryMs, minRetryMs * 2 ** (count - 1)) * (1 + jitter * random());
    // It is the receiver that is asked too often, whatever the messages are about.
    if (err.retryAfterMs !== undefined) rate.pause(keyOf(provider), err.retryAfterMs);
    const delayMs = Math.max(err.retryAfterMs ?? 0, backoffMs);
    tries.set(key, { name, count, notBefore: clock.monotonicMs() + delayMs });
    return { requeueAfterMs: delayMs };
  }
}

const isApp = (subject: Kustomization | GitRepository): subject is Kustomization => subject.kind === kustomizations.kind;
const nameOfSubject = (subject: KubeObject): string => `${subject.kind}/${keyOf(subject)}`;
const keyFor = (alert: Alert, subject: KubeObject): string => `${keyOf(alert)}|${subject.kind}|${keyOf(subject)}`;

const timeoutMsOf = ({ spec }: Provider): number =>
  Math.min(maxTimeoutMs, spec.timeout === undefined ? defaultTimeoutMs : parseDuration(spec.timeout));

/** The Secrets that a provider names. */
const secretsOf = ({ spec }: Provider): readonly ValuesRef[] =>
  [spec.secretRef, spec.certSecretRef, spec.proxySecretRef].flatMap((ref) =>
    ref === undefined ? [] : [{ kind: 'Secret', name: ref.name } as const],
  );

type SecretData = Readonly<Record<string, string>>;

function textIn(data: SecretData, name: string): string | undefined {
  const value = data[name];
  return value === undefined ? undefined : Buffer.from(value, 'base64').toString('utf8');
}

const lineIn = (data: SecretData, name: string): string | undefined => textIn(data, name)?.trim();

/** Undefined when there is nothing that would be of use. */
function tlsIn(data: SecretData): Pick<RemoteAccess, 'ca' | 'clientCertificate'> | undefined {
  const ca = textIn(data, 'ca.crt') ?? textIn(data, 'caFile');
  const certificate = textIn(data, 'tls.crt') ?? textIn(data, 'certFile');
  const key = textIn(data, 'tls.key') ?? textIn(data, 'keyFile');
  const clientCertificate = certificate === undefined || key === undefined ? undefined : { certificate, key };
  if (ca === undefined && clientCertificate === undefined) return undefined;
  return { ...(ca === undefined ? {} : { ca }), ...(clientCertificate === undefined ? {} : { clientCertificate }) };
}

/** A proxy by its address, with the credentials of its Secret or, as it used to be, of the address itself. */
function proxyAt(address: string, data: SecretData): ProxyAccess {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new ProviderProblem('InvalidProvider', 'the proxy has no http:// or https:// address');
  }
  const username = lineIn(data, 'username') ?? unescaped(url.username);
  const password = lineIn(data, 'password') ?? unescaped(url.password);
  return { address: url.origin, ...(username === '' ? {} : { username, password }) };
}

const headerLimits = { maxBytes: 64 * 1024, maxDepth: 5, maxAliases: 0, maxDocuments: 1 };
/** Set by the message itself or by the connection. */
const ownHeaders: readonly string[] = ['host', 'content-length', 'transfer-encoding', 'connection', 'content-type', 'x-signature'];

/** Names and values as YAML, which Flux's Secret has under `headers`. */
function parseHeaders(text: string): Readonly<Record<string, string>> {
  const broken = new ProviderProblem('InvalidProvider', 'headers of the Secret is no YAML of names and values');
  let value: unknown;
  try {
    value = parseYamlDocuments(text, headerLimits)[0]?.value ?? {};
  } catch (err) {
    if (err instanceof YamlError) throw broken;
    throw err;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw broken;
  const headers: Record<string, string> = {};
  for (const [name, content] of Object.entries(value)) {
    if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name) || typeof content !== 'string' || /[^\t\x20-\x7e]/.test(content)) throw broken;
    if (!ownHeaders.includes(name.toLowerCase())) headers[name] = content;
  }
  return headers;
}
