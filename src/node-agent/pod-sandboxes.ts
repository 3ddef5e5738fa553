import { join } from 'node:path';
import type { Pod } from '../api/core/v1/pod.ts';
import { runtimeClasses } from '../api/node/v1/runtime-class.ts';
import type { AgentContext } from './agent-context.ts';
import type { ContainerStatus, PodSandboxConfig, SandboxStatus } from './container-runtime.ts';
import { composePodDns, podDomain } from './pod-dns.ts';
import { recordPodEvent } from './pod-events.ts';
import { podLinuxOf } from './pod-linux.ts';

/** The sandboxes that the runtime holds for one pod: the newest, and those that it replaced. */
export class PodSandboxes {
  readonly #context: AgentContext;
  readonly #podUid: string;
  #all: readonly SandboxStatus[] = [];
  #newest: SandboxStatus | undefined;

  constructor(context: AgentContext, podUid: string) {
    this.#context = context;
    this.#podUid = podUid;
  }

  /** As of the last look. */
  get newest(): SandboxStatus | undefined {
    return this.#newest;
  }

  /** The containers that ran at the last look. */
  running(): readonly ContainerStatus[] {
    return this.#all.flatMap(({ containers }) => containers.filter(({ state }) => state === 'running'));
  }

  async look(): Promise<void> {
    this.#all = await this.#context.runtime.list({ podUid: this.#podUid });
    this.#newest = this.#all.reduce<SandboxStatus | undefined>(
      (before, sandbox) => (before === undefined || sandbox.attempt > before.attempt ? sandbox : before),
      undefined,
    );
  }

  /**
   * Makes the next sandbox.
   *
   * @returns the number of the attempt
   * @throws Error of the runtime; an Event says so, and the next call tries again
   */
  async run(pod: Pod, gracePeriodMs: number): Promise<number> {
    const { runtime, metrics, logDirectory } = this.#context;
    const { metadata, spec } = pod;
    const attempt = this.#newest === undefined ? 0 : this.#newest.attempt + 1;
    try {
      const dns = await this.#dnsOf(pod);
      const runtimeHandler = await this.#handlerOf(pod);
      await metrics.runtimeOperation('run_podsandbox', () =>
        runtime.runPodSandbox({
          ...dns,
          namespace: metadata.namespace ?? '',
          name: metadata.name,
          uid: this.#podUid,
          attempt,
          hostname: (spec.hostname ?? metadata.name).slice(0, 63),
          hostNetwork: spec.hostNetwork ?? false,
          hostAliases: (spec.hostAliases ?? []).map(({ ip, hostnames }) => ({ ip: ip ?? '', hostnames: hostnames ?? [] })),
          logDirectory: podLogs(logDirectory, pod),
          linux: podLinuxOf(pod),
          runtimeHandler,
          gracePeriodMs,
        }),
      );
    } catch (err) {
      const message = `Failed to create pod sandbox: ${err instanceof Error ? err.message : String(err)}`;
      recordPodEvent(this.#context, pod, { type: 'Warning', reason: 'FailedCreatePodSandBox', message });
      throw err;
    }
    return attempt;
  }

  async stop(): Promise<void> {
    const { runtime, metrics } = this.#context;
    for (const { id, ready } of this.#all) {
      if (ready) await metrics.runtimeOperation('stop_podsandbox', () => runtime.stopPodSandbox(id));
    }
  }

  /** Removes those of the last look. */
  async remove(): Promise<void> {
    const { runtime, metrics } = this.#context;
    for (const { id } of this.#all) await metrics.runtimeOperation('remove_podsandbox', () => runtime.removePodSandbox(id));
  }

  /** Parts beyond the limits of resolvers are left out, and an Event says so. */
  async #dnsOf(pod: Pod): Promise<Pick<PodSandboxConfig, 'dns' | 'domain'>> {
    const { dns } = this.#context;
    if (dns === undefined) return {};
    const { config, cuts } = composePodDns(pod, dns, await dns.machine());
    for (const message of cuts) recordPodEvent(this.#context, pod, { type: 'Warning', reason: 'DNSConfigForming', message });
    return { dns: config, domain: podDomain(pod, dns) };
  }

  /** @throws StatusError `NotFound` when the class is not there */
  async #handlerOf({ spec: { runtimeClassName = '' } }: Pod): Promise<string | undefined> {
    const { client, runtime } = this.#context;
    if (!runtime.hasContainers || runtimeClassName === '') return undefined;
    return (await client.get(runtimeClasses, { name: runtimeClassName })).handler;
  }
}

/** The directory of a pod's logs. */
export const podLogs = (directory: string, { metadata: { namespace, name, uid } }: Pod): string =>
  join(directory, `${namespace}_${name}_${uid}`);
