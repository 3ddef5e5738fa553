import { parseApiVersion } from '../../../machinery/resource.ts';
import { spend } from './work.ts';

/** Objects under work are changed in place; each render makes its own copies. */
export type JsonMap = Record<string, unknown>;

/** One object on its way through the kustomizations, with what it was called before: references to it are found by its old names. */
export interface Resource {
  object: JsonMap;
  /** Kind, name and namespace before each change of one of them, oldest first. */
  previous: PreviousId[];
  prefixes: string[];
  suffixes: string[];
  /** A generated object whose name is to end in a hash of its content. */
  needsHash: boolean;
  behavior: string;
  /** Variables that take a value from it. */
  variables: string[];
  origin: Origin;
  /** Transformers that changed it, in order; kept only when the kustomization asks for it. */
  transformations: Configured[];
}

/** The place that asks for a generator or transformer. */
export interface Configured {
  readonly file: string;
  /** `ConfigMapGenerator` */
  readonly kind: string;
  /** Name of a generator or transformer that is an object of its own; else empty. */
  readonly name: string;
  readonly namespace: string;
}

/** Origin of an object. Error messages name it, and so does an annotation when the kustomization asks for that. */
export interface Origin {
  readonly file: string;
  readonly line: number;
  /** Content id of the file. */
  readonly blob: string;
  /** Absent on what was read. */
  readonly generator?: Configured;
}

interface PreviousId {
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
}

export interface ResourceId extends PreviousId {
  readonly group: string;
  readonly version: string;
}

/** A selection of kinds; what is absent or empty selects all. */
export interface GroupVersionKindSelector {
  readonly group?: string | undefined;
  readonly version?: string | undefined;
  readonly kind?: string | undefined;
}

export const newResource = (object: JsonMap, origin: Origin): Resource => ({
  object,
  previous: [],
  prefixes: [],
  suffixes: [],
  needsHash: false,
  behavior: '',
  variables: [],
  origin,
  transformations: [],
});

export const isMap = (value: unknown): value is JsonMap => typeof value === 'object' && value !== null && !Array.isArray(value);

export function metadataOf({ object }: Resource): JsonMap {
  if (!isMap(object.metadata)) object.metadata = {};
  return object.metadata as JsonMap;
}

/** Also of a number, which a prefix makes a good name of. */
const textOf = (value: unknown): string => (value === null || value === undefined || typeof value === 'object' ? '' : String(value));

export function currentId(resource: Resource): ResourceId {
  const { object } = resource;
  const metadata = isMap(object.metadata) ? object.metadata : {};
  const { group, version } = parseApiVersion(textOf(object.apiVersion));
  return { group, version, kind: textOf(object.kind), name: textOf(metadata.name), namespace: textOf(metadata.namespace) };
}

/** Ids with the object's present group and version, as those never change by themselves. */
export function previousIds(resource: Resource): readonly ResourceId[] {
  const { group, version } = currentId(resource);
  return resource.previous.map((id) => ({ group, version, ...id }));
}

export function originalId(resource: Resource): ResourceId {
  const current = currentId(resource);
  return { ...current, ...resource.previous[0] };
}

/** The objects that have or had this id. Names alone distinguish most of them. */
export function withId(resources: readonly Resource[], id: ResourceId): readonly Resource[] {
  spend(resources.length);
  const key = idKey(id);
  return resources.filter(
    (resource) =>
      ((isMap(resource.object.metadata) && resource.object.metadata.name === id.name) ||
        resource.previous.some(({ name }) => name === id.name)) &&
      [currentId(resource), ...previousIds(resource)].some((other) => idKey(other) === key),
  );
}

/** To be called before kind, name or namespace of an object change. */
export function rememberId(resource: Resource): void {
  const id = currentId(resource);
  resource.previous.push({ kind: id.kind, name: id.name, namespace: effectiveNamespace(id) });
}

/**
 * Kinds that kustomize knows to have no namespace, by group; of others it takes for granted that they have one. It decides which names
 * may refer to which, and which objects `namespace` moves.
 */
const clusterScoped: Readonly<Record<string, readonly string[]>> = {
  '': ['ComponentStatus', 'Namespace', 'Node', 'NodeProxyOptions', 'PersistentVolume'],
  'admissionregistration.k8s.io': ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'],
  'apiextensions.k8s.io': ['CustomResourceDefinition'],
  'apiregistration.k8s.io': ['APIService'],
  'certificates.k8s.io': ['CertificateSigningRequest'],
  'flowcontrol.apiserver.k8s.io': ['FlowSchema', 'PriorityLevelConfiguration'],
  'networking.k8s.io': ['IngressClass'],
  'node.k8s.io': ['RuntimeClass'],
  policy: ['PodSecurityPolicy'],
  'rbac.authorization.k8s.io': ['ClusterRole', 'ClusterRoleBinding'],
  'scheduling.k8s.io': ['PriorityClass'],
  'storage.k8s.io': ['CSIDriver', 'CSINode', 'StorageClass', 'VolumeAttachment'],
};

export const isClusterScoped = ({ group, kind }: { readonly group: string; readonly kind: string }): boolean =>
  clusterScoped[group]?.includes(kind) === true;

const noNamespace = '_non_namespaceable_';

/** No namespace means `default`; objects that cannot have one share a name of their own. */
export function effectiveNamespace(id: ResourceId): string {
  if (isClusterScoped(id) || id.namespace === noNamespace) return noNamespace;
  return id.namespace === '' ? 'default' : id.namespace;
}

export const idKey = (id: ResourceId): string => `${id.group}|${id.version}|${id.kind}|${effectiveNamespace(id)}|${id.name}`;

/** `ConfigMap.v1.[noGrp]/name.[noNs]`, as kustomize's messages name an object. */
export const describeId = ({ group, version, kind, name, namespace }: ResourceId): string =>
  `${kind || '[noKind]'}.${version || '[noVer]'}.${group || '[noGrp]'}/${name || '[noName]'}.${namespace || '[noNs]'}`;

export const isSelected = (id: { readonly group: string; readonly version: string; readonly kind: string }, by: GroupVersionKindSelector) =>
  (!by.group || by.group === id.group) && (!by.version || by.version === id.version) && (!by.kind || by.kind === id.kind);

export function cloneJson<T>(value: T): T {
  spend(1);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(cloneJson) as T;
  const copy: JsonMap = {};
  for (const [key, child] of Object.entries(value)) setOwn(copy, key, cloneJson(child));
  return copy as T;
}

/** Plain assignment of `__proto__` would change the prototype instead. */
export function setOwn(map: JsonMap, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(map, key, { value, writable: true, enumerable: true, configurable: true });
  else map[key] = value;
}

/**
 * Members that kustomize created as one. A label that a rule adds in several places (metadata, selector, template) is one
 * node of kustomize's tree. A later change in one place therefore changes all. Members that existed before are independent.
 */
const linkedMembers = new WeakMap<JsonMap, Map<string, readonly JsonMap[]>>();

/** Says that `key` of these maps was made as one. */
export function linkMembers(maps: readonly JsonMap[], key: string): void {
  if (maps.length < 2) return;
  for (const map of maps) {
    const links = linkedMembers.get(map) ?? new Map<string, readonly JsonMap[]>();
    links.set(key, maps);
    linkedMembers.set(map, links);
  }
}

/** Changes the value of a member that is there, and of those that were made as one with it. */
export function assignMember(map: JsonMap, key: string, value: unknown): void {
  for (const other of linkedMembers.get(map)?.get(key) ?? []) if (Object.hasOwn(other, key)) setOwn(other, key, value);
  setOwn(map, key, value);
}
