import { isAbsent } from '../../copy-on-write.ts';
import { dnsLabelErrors, dnsSubdomainErrors } from '../../formats.ts';
import type { Container, PodSpec } from './pod.ts';

/** What is allowed in a pod's spec but is hardly meant. `field` is where the spec is: `spec`, `spec.template.spec`. */
export function podSpecWarnings(field: string, spec: PodSpec | undefined): readonly string[] {
  const warnings: string[] = [];
  if (isAbsent(spec)) return warnings;
  for (const key of Object.keys(spec.nodeSelector ?? {})) {
    const instead = renamedNodeLabels[key];
    if (instead !== undefined) warnings.push(`${field}.nodeSelector[${key}]: ${instead}`);
  }
  for (const [list, containers] of [
    ['initContainers', spec.initContainers ?? []],
    ['containers', spec.containers ?? []],
  ] as const) {
    for (const [index, container] of containers.entries()) checkVariables(warnings, `${field}.${list}[${index}]`, container);
  }
  checkPorts(warnings, `${field}.containers`, spec.containers ?? []);
  return warnings;
}

/** The names of a workload's pods begin with its own, and end up in host names. */
export const podPrefixWarnings = (name: string): readonly string[] => nameWarnings(name, 'this is used in Pod names and hostnames');

export const podNameWarnings = (name: string): readonly string[] => nameWarnings(name, "this is used in the Pod's hostname");

function nameWarnings(name: string, use: string): readonly string[] {
  const sentences = dnsLabelErrors(name);
  // A name that is no name at all is an error, and then a warning would only repeat it.
  if (sentences.length === 0 || dnsSubdomainErrors(name).length > 0) return [];
  return [`metadata.name: ${use}, which can result in surprising behavior; a DNS label is recommended: [${sentences.join(' ')}]`];
}

const renamedNodeLabels: Readonly<Record<string, string>> = {
  'beta.kubernetes.io/arch': 'deprecated since v1.14; use "kubernetes.io/arch" instead',
  'beta.kubernetes.io/os': 'deprecated since v1.14; use "kubernetes.io/os" instead',
  'failure-domain.beta.kubernetes.io/region': 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
  'failure-domain.beta.kubernetes.io/zone': 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
  'beta.kubernetes.io/instance-type': 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
};

function checkVariables(warnings: string[], field: string, { env = [] }: Container): void {
  const names = new Set<string>();
  for (const [index, { name }] of env.entries()) {
    if (names.has(name)) {
      warnings.push(`${field}.env[${index}]: hides previous definition of ${JSON.stringify(name)}, which may be dropped when using apply`);
    }
    names.add(name);
  }
}

/** Two containers of one pod share its address: of two equal ports only one can be listened on. */
function checkPorts(warnings: string[], field: string, containers: readonly Container[]): void {
  const places = new Map<string, string>();
  const names = new Map<string, string>();
  for (const [index, { ports = [] }] of containers.entries()) {
    for (const [number, { containerPort, protocol = 'TCP', hostPort = 0, hostIP = '', name = '' }] of ports.entries()) {
      const at = `${field}[${index}].ports[${number}]`;
      const key = `${containerPort}/${protocol}/${hostIP}/${hostPort}`;
      const first = places.get(key);
      if (first === undefined) places.set(key, at);
      else warnings.push(`${at}: duplicate port definition with ${first}`);
      if (name === '') continue;
      const named = names.get(name);
      if (named === undefined) names.set(name, at);
      else {
        const who = 'services and probes that select ports by name will use';
        warnings.push(`${at}: duplicate port name ${JSON.stringify(name)} with ${named}, ${who} ${named}`);
      }
    }
  }
}
