import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Taint } from '../api/core/v1/node.ts';
import {
  EvictionFlagError,
  type EvictionFlagValues,
  type EvictionSettings,
  evictionFlags,
  parseEvictionFlags,
} from '../api/eviction-settings.ts';
import { dnsSubdomainErrors, specialAddressErrors } from '../api/formats.ts';
import { type NetworkBackend, networkBackends } from '../api/network/backend.ts';
import type { NodeSettings } from './configuration.ts';
import { readInterfaces, tryDefaultAddress } from './default-address.ts';
import { Failure } from './failure.ts';

/** The flags of the Node that this machine is, named as in k3s. */
export interface NodeFlags {
  readonly nodeName?: string;
  readonly nodeIp?: string;
  readonly nodeExternalIp?: string;
  readonly podManifestPath?: string;
  readonly nodeLabel: Readonly<Record<string, string>>;
  readonly nodeTaint: readonly Taint[];
  readonly kubeletArg: EvictionFlagValues;
  readonly shutdownGracePeriod: number;
  readonly shutdownGracePeriodCriticalPods: number;
}

export const withNodeFlags = (command: Command): Command =>
  command
    .addOption(new Option('--node-name <name>', 'name of the Node of this machine; default: the host name').argParser(parseName))
    .addOption(
      new Option('--node-ip <address>', 'address by which other machines reach this one; default: that of the default route').argParser(
        parseAddress,
      ),
    )
    .addOption(
      new Option('--node-external-ip <address>', 'address by which this machine is reached from outside; default: none').argParser(
        parseExternalAddress,
      ),
    )
    .addOption(
      new Option('--pod-manifest-path <dir>', 'manifests of static pods, a file for each; default: manifests in the data directory'),
    )
    .addOption(
      new Option('--node-label <key=value>', 'label of the Node; may be given several times').argParser(parseLabel).default({}, 'none'),
    )
    .addOption(
      new Option('--node-taint <key=value:effect>', 'taint of the Node; may be given several times')
        .argParser(parseTaint)
        .default([], 'none'),
    )
    .addOption(
      new Option('--kubelet-arg <key=value>', 'flag of a kubelet about node pressure, as eviction-hard=…; may be given several times')
        .argParser(parseKubeletArg)
        .default({}, "a kubelet's defaults"),
    )
    .addOption(
      new Option('--shutdown-grace-period <duration>', 'time that pods have to end in when the machine goes down; 0: none of their own')
        .argParser(parseShutdownPeriod)
        .default(30_000, '30s'),
    )
    .addOption(
      new Option('--shutdown-grace-period-critical-pods <duration>', 'the part of it that is kept for critical pods, which end last')
        .argParser(parseShutdownPeriod)
        .default(10_000, '10s'),
    );

/** Less than the unit of the program has for its stop. */
const maxShutdownMs = 120_000;

/** @throws InvalidArgumentError for one that systemd would cut */
function parseShutdownPeriod(value: string): number {
  const ms = parseMachineDuration(value);
  if (ms > maxShutdownMs) throw new InvalidArgumentError('At most 120s: systemd ends the program then.');
  return ms;
}

export const nodeSettingsOf = ({
  nodeName = parseName(hostname()),
  nodeExternalIp,
  podManifestPath,
  nodeLabel,
  nodeTaint,
  kubeletArg,
  shutdownGracePeriod,
  shutdownGracePeriodCriticalPods,
}: NodeFlags): NodeSettings => ({
  nodeName,
  ...(nodeExternalIp === undefined ? {} : { externalAddress: nodeExternalIp }),
  ...(podManifestPath === undefined ? {} : { manifestDirectory: resolve(podManifestPath) }),
  labels: nodeLabel,
  taints: nodeTaint,
  ...(Object.keys(kubeletArg).length === 0 ? {} : { eviction: evictionOf(kubeletArg) }),
  shutdown: { allMs: shutdownGracePeriod, criticalMs: Math.min(shutdownGracePeriod, shutdownGracePeriodCriticalPods) },
});

/** @throws Failure for values that a kubelet refuses, too */
function evictionOf(flags: EvictionFlagValues): EvictionSettings {
  try {
    return parseEvictionFlags(flags);
  } catch (err) {
    if (!(err instanceof EvictionFlagError)) throw err;
    throw new Failure(`--kubelet-arg ${err.flag} cannot be used`, {
      why: err.message,
      fix: 'Write it as for a kubelet: --kubelet-arg "eviction-hard=memory.available<200Mi,nodefs.available<5%"',
      cause: err,
    });
  }
}

/** @throws Failure when no address can be found */
export function nodeAddressOf({ nodeIp }: NodeFlags): string {
  const address = nodeIp ?? tryDefaultAddress(readFileSync('/proc/net/route', 'utf8'), readInterfaces());
  if (address !== undefined) return address;
  throw new Failure('this machine has no address that other machines reach', {
    why: 'It has no default route and no IPv4 address beside loopback.',
    fix: 'Name one with --node-ip ADDRESS.',
  });
}

/** @throws InvalidArgumentError that names the choices */
export function parseNetworkBackend(value: string): NetworkBackend {
  // The name that k3s has for it.
  const found = networkBackends.find((known) => known === (value === 'wireguard-native' ? 'wireguard' : value));
  if (found !== undefined) return found;
  throw new InvalidArgumentError('It is vxlan, wireguard, or host-gw where all machines share a segment.');
}

function parseName(value: string): string {
  const name = value.toLowerCase();
  const [problem] = dnsSubdomainErrors(name);
  if (problem !== undefined) throw new InvalidArgumentError(`${JSON.stringify(value)} is no name of a Node: ${problem}`);
  return name;
}

function parseAddress(value: string): string {
  if (!isIPv4(value)) throw new InvalidArgumentError('An IPv4 address of this machine; IPv6 is not supported yet.');
  return value;
}

/** A router may hold it, so the machine need not. */
function parseExternalAddress(value: string): string {
  if (!isIPv4(value)) throw new InvalidArgumentError('An IPv4 address; IPv6 is not supported yet.');
  const [problem] = specialAddressErrors(value);
  if (problem !== undefined) throw new InvalidArgumentError(`Nobody outside reaches ${value}: ${problem}.`);
  return value;
}

function parseLabel(value: string, before: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const [, key, text = ''] = /^([^=,\s]+)=([^=,\s]*)$/.exec(value) ?? [];
  if (key === undefined) throw new InvalidArgumentError('A label is KEY=VALUE.');
  const domain = key.includes('/') ? key.slice(0, key.indexOf('/')) : '';
  const isReserved = /(?:^|\.)(?:kubernetes|k8s)\.io$/.test(domain) && !/(?:^|\.)(?:node|kubelet)\.kubernetes\.io$/.test(domain);
  if (isReserved && !ownLabels.has(key))
    throw new InvalidArgumentError(`A node may not give itself the label ${key}; set it with "kubectl label node".`);
  return { ...before, [key]: text };
}

/** Labels of Kubernetes that a kubelet may set, beside those below node.kubernetes.io and kubelet.kubernetes.io. */
const ownLabels: ReadonlySet<string> = new Set(['topology.kubernetes.io/region', 'topology.kubernetes.io/zone']);

function parseTaint(value: string, before: readonly Taint[]): readonly Taint[] {
  const [, key, text, effect] = /^([^=:,\s]+)(?:=([^=:,\s]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$/.exec(value) ?? [];
  if (key === undefined || effect === undefined)
    throw new InvalidArgumentError('A taint is KEY=VALUE:EFFECT, with the effect NoSchedule, PreferNoSchedule or NoExecute.');
  return [...before, { key, ...(text === undefined ? {} : { value: text }), effect }];
}

/** Values of one flag are kept apart: a kubelet joins them. */
function parseKubeletArg(text: string, before: EvictionFlagValues): EvictionFlagValues {
  const [, name, value = ''] = /^(?:--)?([a-z-]+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError('An argument of a kubelet is KEY=VALUE: eviction-hard=memory.available<200Mi');
  const flag = evictionFlags.find((known) => known === name);
  if (flag === undefined) throw new InvalidArgumentError(`Not supported: ${name}. Supported are ${evictionFlags.join(', ')}.`);
  return { ...before, [flag]: [...(before[flag] ?? []), value] };
}

const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Gives milliseconds; `0` has no unit. */
export function parseMachineDuration(value: string): number {
  const [, count = '', unit = ''] = /^(\d{1,6})(s|m|h|d)$/.exec(value) ?? [];
  if (value === '0') return 0;
  if (unit === '') throw new InvalidArgumentError('A duration is a number with s, m, h or d: 24h.');
  return Number(count) * unitMs[unit as keyof typeof unitMs];
}
