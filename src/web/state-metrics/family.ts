import { BoundedMap } from '../../base/bounded-map.ts';
import { escapeLabel, familyHead } from '../../base/series.ts';
import type { KubeObject, OwnerReference } from '../../machinery/object.ts';
import { parseQuantity } from '../../machinery/quantity.ts';

/** One family of `kube_*` and what it says of one object. Names and labels are those of kube-state-metrics, so that its dashboards work. */
export interface Family<T extends KubeObject> {
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
  write(samples: Samples, object: T): void;
}

/** Lines of one family for one object. */
export class Samples {
  readonly #name: string;
  #labels = '';
  #text = '';

  constructor(name: string) {
    this.#name = name;
  }

  /** The labels that every sample of the object has: `namespace="a",pod="b"`. */
  begin(labels: string): void {
    this.#labels = labels;
    this.#text = '';
  }

  /** `more` starts with a comma: `,phase="Running"`. Nothing is written for a value that is absent. */
  add(value: number | undefined, more = ''): void {
    if (value !== undefined && !Number.isNaN(value)) this.#text += `${this.#name}{${this.#labels}${more}} ${value}\n`;
  }

  /** One sample a value, 1 for the one that holds. */
  stateSet(label: string, values: readonly string[], holds: string | undefined, more = ''): void {
    for (const value of values) this.add(value === holds ? 1 : 0, `${more},${label}="${value}"`);
  }

  /** Resource amounts, with the resource and its unit as labels. */
  amounts(amounts: Readonly<Record<string, string>> | undefined, more = ''): void {
    if (amounts === undefined) return;
    for (const [resource, amount] of Object.entries(amounts))
      this.add(Number(parseQuantity(amount).nanos) / 1e9, more + resourceLabels(resource));
  }

  get text(): string {
    return this.#text;
  }
}

export function gauge<T extends KubeObject>(name: string, help: string, write: (samples: Samples, object: T) => void): Family<T> {
  return { name, help, type: 'gauge', write };
}

export function counter<T extends KubeObject>(name: string, help: string, write: (samples: Samples, object: T) => void): Family<T> {
  return { name, help, type: 'counter', write };
}

/** All lines of a family, in pieces; the first is its head. */
export function* familyLines<T extends KubeObject>(
  family: Family<T>,
  objects: readonly { readonly object: T; readonly labels: string }[],
): Iterable<string> {
  yield familyHead(family.name, family.help, family.type);
  const samples = new Samples(family.name);
  for (const { object, labels } of objects) {
    samples.begin(labels);
    family.write(samples, object);
    if (samples.text !== '') yield samples.text;
  }
}

export const conditionStatuses = ['true', 'false', 'unknown'] as const;

/** Seconds since the epoch; undefined when absent. */
export const secondsOf = (timestamp: string | null | undefined): number | undefined =>
  timestamp == null ? undefined : Date.parse(timestamp) / 1_000;

export const createdAt = ({ metadata }: KubeObject): number | undefined => secondsOf(metadata.creationTimestamp);

/** kube-state-metrics writes empty labels for objects without an owner, and rules match on them. */
function ownerLabels(owner: OwnerReference | undefined): string {
  if (owner === undefined) return ',owner_kind="",owner_name="",owner_is_controller=""';
  return `,owner_kind="${escapeLabel(owner.kind)}",owner_name="${escapeLabel(owner.name)}",owner_is_controller="${owner.controller === true}"`;
}

export function ownersOf(samples: Samples, { metadata }: KubeObject): void {
  const owners = metadata.ownerReferences ?? [];
  if (owners.length === 0) samples.add(1, ownerLabels(undefined));
  for (const owner of owners) samples.add(1, ownerLabels(owner));
}

/** Labels of namespaced objects; names of namespaces and objects need no escape. */
export const namespacedLabels =
  (label: string) =>
  ({ metadata }: KubeObject): string =>
    `namespace="${metadata.namespace ?? ''}",${label}="${metadata.name}"`;

/** By resource: made once for all objects. */
const labelsOf = new BoundedMap<string, string>(256);

function resourceLabels(resource: string): string {
  let labels = labelsOf.get(resource);
  if (labels === undefined) {
    labels = `,resource="${escapeLabel(resource.replace(/[^a-zA-Z0-9_]/g, '_'))}",unit="${unitOf(resource)}"`;
    labelsOf.set(resource, labels);
  }
  return labels;
}

function unitOf(resource: string): string {
  if (resource === 'cpu') return 'core';
  return resource === 'memory' || resource === 'storage' || resource === 'ephemeral-storage' || resource.startsWith('hugepages-')
    ? 'byte'
    : 'integer';
}
