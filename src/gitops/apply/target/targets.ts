import { secrets } from '../../../api/core/v1/secret.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { createBackoff } from '../../../base/backoff.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Log } from '../../../base/log.ts';
import type { Client } from '../../../client/client.ts';
import { withDeadline } from '../../../client/deadline-client.ts';
import type { HttpClient } from '../../../client/http-client.ts';
import { createInformerSet } from '../../../client/informer-set.ts';
import { keyOf } from '../../../machinery/object.ts';
import { isNotFound } from '../../../machinery/status-error.ts';
import { targetKeyOf } from '../plan/app-spec.ts';
import type { Target, TargetCluster } from './target.ts';

/** Opens a connection to the cluster that a kubeconfig names; `name` is for messages. */
export type OpenCluster = (kubeconfig: string, name: string) => Promise<HttpClient>;

/** State of an app's cluster. */
export type TargetState =
  | { readonly state: 'ready'; readonly target: Target }
  /** The app is woken when that is over. */
  | { readonly state: 'connecting' }
  /** Its kubeconfig is not there: nothing can be done on that cluster any more. */
  | { readonly state: 'missing'; readonly reason: string }
  | { readonly state: 'unreachable'; readonly reason: string };

/**
 * The clusters that apps are applied to: the local one, and those of `spec.kubeConfig`. Another cluster is connected to, asked and given
 * up beside the work of apps. A dead one holds up its own apps only.
 */
export interface Targets {
  of(app: Kustomization): Promise<TargetState>;
  /** The app is gone or goes elsewhere; a cluster that nobody uses any more is let go. */
  release(app: string): void;
  stop(): void;
}

export interface TargetsOptions {
  readonly local: Target;
  readonly client: Client;
  readonly openCluster: OpenCluster;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
  createTarget(of: TargetCluster): Target;
  wake(app: string): void;
}

interface Remote {
  readonly key: string;
  /** Version of the Secret that opened it. */
  readonly identity: string;
  readonly users: Set<string>;
  readonly abort: AbortController;
  state: TargetState;
  client: HttpClient | undefined;
  /** Asks the cluster again after it was lost. */
  again: () => void;
}

/** A cluster is dead for now when it does not answer a request within this time. */
const requestTimeoutMs = 10_000;
const maxKubeconfigBytes = 256 * 1024;

export function createTargets({ local, client, openCluster, clock, log, random, createTarget, wake }: TargetsOptions): Targets {
  const remotes = new Map<string, Remote>();
  const backoff = createBackoff({ baseMs: 1_000, maxMs: 60_000, jitter: 0.2, random });

  return {
    async of(app) {
      const key = targetKeyOf(app);
      const user = keyOf(app);
      if (key === '') {
        release(user);
        return { state: 'ready', target: local };
      }
      const read = await readKubeconfig(client, app);
      if ('reason' in read) return { state: 'missing', reason: read.reason };
      let remote = remotes.get(key);
      if (remote !== undefined && remote.identity !== read.identity) {
        close(remote);
        remote = undefined;
      }
      if (remote === undefined) remote = connect(key, read);
      for (const other of remotes.values()) if (other !== remote && other.users.has(user)) releaseFrom(other, user);
      remote.users.add(user);
      return remote.state;
    },
    release,
    stop() {
      for (const remote of remotes.values()) close(remote);
    },
  };

  function release(user: string): void {
    for (const remote of remotes.values()) if (remote.users.has(user)) releaseFrom(remote, user);
  }

  function releaseFrom(remote: Remote, user: string): void {
    remote.users.delete(user);
    if (remote.users.size === 0) close(remote);
  }

  function close(remote: Remote): void {
    if (remotes.get(remote.key) === remote) remotes.delete(remote.key);
    backoff.forget(remote.key);
    remote.abort.abort(new Error(`cluster ${remote.key} is let go`));
    remote.client?.close();
  }

  function connect(key: string, { text, identity }: Kubeconfig): Remote {
    const remote: Remote = {
      key,
      identity,
      users: new Set(),
      abort: new AbortController(),
      state: { state: 'connecting' },
      client: undefined,
      again: () => undefined,
    };
    remotes.set(key, remote);
    void open(remote, text);
    return remote;
  }

  function set(remote: Remote, state: TargetState): void {
    remote.state = state;
    for (const user of remote.users) wake(user);
  }

  async function open(remote: Remote, text: string): Promise<void> {
    try {
      remote.client = await openCluster(text, remote.key);
    } catch (err) {
      // Only another Secret can repair that.
      set(remote, { state: 'unreachable', reason: `kubeconfig of ${remote.key}: ${err instanceof Error ? err.message : String(err)}` });
      return;
    }
    if (remote.abort.signal.aborted) {
      remote.client.close();
      return;
    }
    const bounded = withDeadline(remote.client, {
      clock,
      timeoutMs: requestTimeoutMs,
      onUnreachable: (reason) => lost(remote, reason),
    });
    const informers = createInformerSet({ client: bounded, clock, log, random });
    informers.start({ signal: remote.abort.signal });
    const target = createTarget({ client: bounded, informers, readLastLine: remote.client.readLastLine });
    await probe(remote, bounded, target);
  }

  /** Asks until it answers. */
  async function probe(remote: Remote, bounded: Client, target: Target): Promise<void> {
    if (remote.abort.signal.aborted) return;
    try {
      await bounded.discover();
      backoff.forget(remote.key);
      if (remote.abort.signal.aborted) return;
      remote.again = () => void probe(remote, bounded, target);
      set(remote, { state: 'ready', target });
    } catch (err) {
      if (remote.abort.signal.aborted) return;
      log.warn({ cluster: remote.key, err }, 'Could not reach cluster');
      set(remote, { state: 'unreachable', reason: `cluster of ${remote.key}: ${err instanceof Error ? err.message : String(err)}` });
      clock.after(backoff.next(remote.key), () => void probe(remote, bounded, target));
    }
  }

  /** A request failed: the others of this cluster need not find that out one by one. */
  function lost(remote: Remote, reason: string): void {
    if (remote.state.state !== 'ready') return;
    remote.state = { state: 'unreachable', reason: `cluster of ${remote.key}: ${reason}` };
    clock.after(backoff.next(remote.key), remote.again);
  }
}

interface Kubeconfig {
  readonly text: string;
  readonly identity: string;
}

async function readKubeconfig(client: Client, { metadata, spec }: Kustomization): Promise<Kubeconfig | { readonly reason: string }> {
  const { name, key } = spec.kubeConfig?.secretRef ?? { name: '' };
  const ref = { namespace: metadata.namespace, name };
  try {
    const secret = await client.get(secrets, ref);
    const encoded = key === undefined ? (secret.data?.value ?? secret.data?.['value.yaml']) : secret.data?.[key];
    if (encoded === undefined) {
      return { reason: `KubeConfig secret '${ref.namespace}/${name}' does not contain a '${key ?? 'value'}' key with a kubeconfig` };
    }
    if (encoded.length > maxKubeconfigBytes) return { reason: `KubeConfig secret '${ref.namespace}/${name}' is too large` };
    const { uid, resourceVersion } = secret.metadata;
    return { text: Buffer.from(encoded, 'base64').toString('utf8'), identity: `${uid} ${resourceVersion}` };
  } catch (err) {
    if (!isNotFound(err)) throw err;
    return { reason: `unable to read KubeConfig secret '${ref.namespace}/${name}' error: it does not exist` };
  }
}
