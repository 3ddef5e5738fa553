import type { Container, Pod } from '../api/core/v1/pod.ts';
import { parseQuantity } from '../machinery/quantity.ts';

/** A pod's own fields as its containers see them; addresses are the present ones, which its status may not have yet. */
export interface DownwardFacts {
  readonly pod: Pod;
  readonly podIP: string;
  readonly hostIP: string;
  /** The node's, by resource name: the limit of a container that has none. */
  readonly allocatable: Readonly<Record<string, string>>;
}

/**
 * The text of a `fieldRef`.
 *
 * @throws Error for a field that cannot be referred to
 */
export function fieldText(path: string, { pod, podIP, hostIP }: DownwardFacts): string {
  const { metadata, spec } = pod;
  const entry = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
  if (entry !== null) return (entry[1] === 'labels' ? metadata.labels : metadata.annotations)?.[entry[2] ?? ''] ?? '';
  switch (path) {
    case 'metadata.name':
      return metadata.name;
    case 'metadata.namespace':
      return metadata.namespace ?? '';
    case 'metadata.uid':
      return metadata.uid ?? '';
    case 'metadata.labels':
      return mapText(metadata.labels);
    case 'metadata.annotations':
      return mapText(metadata.annotations);
    case 'spec.nodeName':
      return spec.nodeName ?? '';
    case 'spec.serviceAccountName':
      return spec.serviceAccountName ?? '';
    case 'status.hostIP':
    case 'status.hostIPs':
      return hostIP;
    case 'status.podIP':
    case 'status.podIPs':
      return podIP;
    default:
      throw new Error(`unsupported fieldPath: ${path}`);
  }
}

/** `key="escaped value"` lines in order of keys, as the downward API writes maps. */
function mapText(map: Readonly<Record<string, string>> | undefined): string {
  return Object.entries(map ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join('\n');
}

/**
 * The number of a `resourceFieldRef` in units of its divisor, rounded up.
 *
 * @throws Error for a resource that cannot be referred to
 */
export function resourceText(resource: string, divisor: string | undefined, container: Container, { allocatable }: DownwardFacts): string {
  const match = /^(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-.+)$/.exec(resource);
  if (match === null) throw new Error(`unsupported container resource: ${resource}`);
  const [, kind, name = ''] = match;
  const { limits, requests } = container.resources ?? {};
  const amount = kind === 'limits' ? (limits?.[name] ?? allocatable[name]) : (requests?.[name] ?? limits?.[name]);
  const { nanos } = parseQuantity(amount ?? '0');
  const unit = parseQuantity(divisor === undefined || divisor === '' || divisor === '0' ? '1' : divisor).nanos;
  return String((nanos + unit - 1n) / unit);
}
