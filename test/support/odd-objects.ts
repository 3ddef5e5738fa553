import { builtInKinds } from '../../src/api/kinds.ts';
import type { KindDefinition } from '../../src/machinery/kind.ts';
import type { Schema, SchemaSet } from '../../src/machinery/schema.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
type JsonMap = { readonly [key: string]: Json };

/** The kinds that are stored, so that a restart reads them. */
export const storedKinds: readonly KindDefinition[] = builtInKinds.filter(
  ({ transient, storedAs, verbs }) => transient !== true && storedAs === undefined && verbs.includes('create'),
);

const container = { name: 'c', image: 'host/sleep' };
const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [container] } };
const selector = { matchLabels: { a: 'b' } };
const workload = { selector, template };
const claim = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } };
const rule = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['podtemplates'] };
const webhook = {
  name: 'odd.example.com',
  clientConfig: { url: 'https://127.0.0.1:1/hook' },
  rules: [rule],
  failurePolicy: 'Ignore',
  timeoutSeconds: 1,
  sideEffects: 'None',
  admissionReviewVersions: ['v1'],
};
const matchConstraints = { resourceRules: [rule] };
const device = { requests: [{ name: 'r', exactly: { deviceClassName: 'd' } }] };

/** An object of each kind that the API takes, without metadata: what the odd ones are made from. */
const plain: Readonly<Record<string, JsonMap>> = {
  Namespace: {},
  Node: { spec: {} },
  Pod: { spec: { containers: [container] } },
  Service: { spec: { selector: { a: 'b' }, ports: [{ port: 80 }] } },
  ConfigMap: { data: { a: 'b' } },
  Secret: { stringData: { token: 'b' } },
  ServiceAccount: {},
  Event: { involvedObject: { namespace: 'odd' }, reason: 'Odd', message: 'm', type: 'Normal' },
  PersistentVolumeClaim: { spec: claim },
  PersistentVolume: { spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], hostPath: { path: '/x' } } },
  ResourceQuota: { spec: { hard: { secrets: '5000' } } },
  LimitRange: { spec: { limits: [{ type: 'Container', default: { cpu: '1' } }] } },
  Endpoints: { subsets: [{ addresses: [{ ip: '10.1.2.3' }], ports: [{ port: 80 }] }] },
  ReplicationController: { spec: { replicas: 0, selector: { a: 'b' }, template } },
  PodTemplate: { template },
  APIService: {
    spec: {
      group: 'odd.example.com',
      version: 'v1',
      groupPriorityMinimum: 1,
      versionPriority: 1,
      service: { name: 's', namespace: 'odd' },
    },
  },
  Deployment: { spec: { replicas: 1, ...workload } },
  ReplicaSet: { spec: { replicas: 1, ...workload } },
  StatefulSet: { spec: { replicas: 0, serviceName: 's', ...workload } },
  DaemonSet: { spec: workload },
  ControllerRevision: { revision: 1, data: { a: 'b' } },
  HorizontalPodAutoscaler: { spec: { maxReplicas: 2, scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' } } },
  Job: { spec: { template: { spec: { containers: [container], restartPolicy: 'Never' } } } },
  CronJob: {
    spec: { schedule: '* * * * *', jobTemplate: { spec: { template: { spec: { containers: [container], restartPolicy: 'Never' } } } } },
  },
  CertificateSigningRequest: {
    spec: {
      signerName: 'example.com/odd',
      usages: ['client auth'],
      request: Buffer.from(
        '-----BEGIN CERTIFICATE REQUEST-----\nMIHEMGwCAQAwCjEIMAYGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABA==\n-----END CERTIFICATE REQUEST-----\n',
      ).toString('base64'),
    },
  },
  Ingress: { spec: { defaultBackend: { service: { name: 's', port: { number: 80 } } } } },
  IngressClass: { spec: { controller: 'example.com/c' } },
  NetworkPolicy: { spec: { podSelector: {} } },
  IPAddress: { spec: { parentRef: { resource: 'services', name: 's', namespace: 'odd' } } },
  ServiceCIDR: { spec: { cidrs: ['10.99.0.0/16'] } },
  PodDisruptionBudget: { spec: { maxUnavailable: 1, selector } },
  Role: { rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }] },
  RoleBinding: { roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'r' }, subjects: [{ kind: 'User', name: 'u' }] },
  ClusterRole: { rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }] },
  ClusterRoleBinding: {
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'r' },
    subjects: [{ kind: 'User', name: 'u' }],
  },
  StorageClass: { provisioner: 'example.com/p' },
  CSIDriver: { spec: {} },
  CSINode: { spec: { drivers: [] } },
  CSIStorageCapacity: { storageClassName: 's' },
  VolumeAttachment: { spec: { attacher: 'example.com/a', nodeName: 'n', source: { persistentVolumeName: 'v' } } },
  VolumeAttributesClass: { driverName: 'example.com/d', parameters: { a: 'b' } },
  ValidatingWebhookConfiguration: { webhooks: [webhook] },
  MutatingWebhookConfiguration: { webhooks: [webhook] },
  ValidatingAdmissionPolicy: { spec: { matchConstraints, failurePolicy: 'Ignore', validations: [{ expression: 'true' }] } },
  ValidatingAdmissionPolicyBinding: { spec: { policyName: 'p', validationActions: ['Audit'] } },
  MutatingAdmissionPolicy: {
    spec: {
      matchConstraints,
      failurePolicy: 'Ignore',
      reinvocationPolicy: 'Never',
      mutations: [{ patchType: 'ApplyConfiguration', applyConfiguration: { expression: 'Object{}' } }],
    },
  },
  MutatingAdmissionPolicyBinding: { spec: { policyName: 'p' } },
  CustomResourceDefinition: {
    spec: {
      group: 'odd.example.com',
      scope: 'Namespaced',
      names: { plural: 'PLURAL', singular: 'SINGULAR', kind: 'KIND' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
    },
  },
  PriorityClass: { value: 5 },
  Lease: { spec: { holderIdentity: 'h', leaseDurationSeconds: 5 } },
  RuntimeClass: { handler: 'h' },
  EndpointSlice: { addressType: 'IPv4', endpoints: [{ addresses: ['10.1.2.3'] }], ports: [{ port: 80 }] },
  DeviceClass: { spec: { selectors: [{ cel: { expression: 'true' } }] } },
  ResourceClaim: { spec: { devices: device } },
  ResourceClaimTemplate: { spec: { spec: { devices: device } } },
  ResourceSlice: {
    spec: { driver: 'example.com', nodeName: 'n', pool: { name: 'p', generation: 1, resourceSliceCount: 1 }, devices: [{ name: 'd' }] },
  },
  FlowSchema: {
    spec: {
      priorityLevelConfiguration: { name: 'catch-all' },
      matchingPrecedence: 9_000,
      rules: [
        {
          subjects: [{ kind: 'User', user: { name: 'odd' } }],
          resourceRules: [{ verbs: ['get'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'] }],
        },
      ],
    },
  },
  PriorityLevelConfiguration: { spec: { type: 'Limited', limited: { nominalConcurrencyShares: 1, limitResponse: { type: 'Reject' } } } },
  NodeNetworkPolicy: {
    spec: { pods: [{ uid: 'odd', ingress: 'r' }], ruleSets: [{ name: 'r', rules: [] }], groups: [], endpointGroups: [] },
  },
  GitRepository: { spec: { url: 'https://127.0.0.1:1/odd.git', interval: '1h' } },
  Kustomization: { spec: { interval: '1h', prune: true, path: './odd', sourceRef: { kind: 'GitRepository', name: 'odd' } } },
  Receiver: { spec: { type: 'generic', secretRef: { name: 'odd' }, resources: [{ kind: 'GitRepository', name: 'odd' }] } },
  Alert: { spec: { providerRef: { name: 'odd' }, eventSources: [{ kind: 'Kustomization', name: '*' }] } },
  Provider: { spec: { type: 'generic', address: 'https://127.0.0.1:1/' } },
};

/** The plain object of a kind under a name; where a name has to say something it does. */
export function plainObject(kind: KindDefinition, name: string): JsonMap {
  const body = plain[kind.kind];
  if (body === undefined) throw new Error(`no plain object of ${kind.kind}`);
  const apiVersion = kind.group === '' ? kind.version : `${kind.group}/${kind.version}`;
  const metadata = { name, ...(kind.namespaced ? { namespace: 'odd' } : {}) };
  switch (kind.kind) {
    case 'CustomResourceDefinition': {
      const text = JSON.stringify(body).replace('PLURAL', `${name}s`).replace('SINGULAR', name).replace('KIND', `K${name}`);
      return { apiVersion, kind: kind.kind, metadata: { name: `${name}s.odd.example.com` }, ...(JSON.parse(text) as JsonMap) };
    }
    case 'APIService':
      return JSON.parse(
        JSON.stringify({ apiVersion, kind: kind.kind, metadata: { name: `v1.${name}.example.com` }, ...body }).replace(
          'odd.example.com',
          `${name}.example.com`,
        ),
      ) as JsonMap;
    case 'IPAddress':
      return {
        apiVersion,
        kind: kind.kind,
        metadata: { name: `10.98.${name.length}.${Number.parseInt(name.slice(-2), 36) % 250}` },
        ...body,
      };
    default:
      return { apiVersion, kind: kind.kind, metadata, ...body };
  }
}

const oddTexts: readonly string[] = [
  '',
  ' ',
  '*',
  '/',
  'a/b',
  '../../x',
  'A B',
  '%zz',
  'NaN',
  '0',
  '-1',
  '1h',
  'true',
  'null',
  '\u0000',
  'ä\u202e',
  '__proto__',
  'constructor',
  'x'.repeat(300),
  '[',
  '(',
  '{}',
  'odd',
  'v1',
  'http://[',
  '::1',
  '300.1.1.1',
  '1e400',
];
const oddNumbers: readonly number[] = [0, -1, 1, 2, 65_536, 2 ** 31, -(2 ** 31), 2 ** 53, 1.5];

/** Objects with nothing but a name, and with each part left out, null and empty: the same for every seed. */
export function* bareObjects(kind: KindDefinition): Iterable<JsonMap> {
  let count = 0;
  const next = (): JsonMap => {
    count += 1;
    return plainObject(kind, `bare${count}`);
  };
  const { apiVersion = null, kind: name = null, metadata = null } = next();
  yield { apiVersion, kind: name, metadata };
  const parts = Object.keys(plainObject(kind, 'bare')).filter((part) => !['apiVersion', 'kind', 'metadata'].includes(part));
  for (const part of parts) {
    const { [part]: _, ...without } = next();
    yield without;
    for (const value of [null, {}, []]) yield { ...next(), [part]: value };
    const fields = plainObject(kind, 'bare')[part];
    if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) continue;
    for (const field of Object.keys(fields)) {
      const body = next();
      const { [field]: __, ...rest } = body[part] as JsonMap;
      yield { ...body, [part]: rest };
      for (const value of [null, {}, []]) yield { ...body, [part]: { ...rest, [field]: value } };
    }
  }
}

export interface OddObjects {
  /** The body with one to four things changed: left out, null, empty, of another shape, odd, or added as the schema allows. */
  mutate(body: JsonMap, kind: KindDefinition): JsonMap;
  /** Any JSON value. */
  value(): Json;
}

/** Odd objects, the same for the same random numbers. */
export function createOddObjects(random: () => number, schemas: SchemaSet): OddObjects {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const chance = (share: number): boolean => random() < share;

  function value(): Json {
    return pick<() => Json>([
      () => null,
      () => ({}),
      () => [],
      () => [null],
      () => [{}],
      () => ({ a: null }),
      () => ({ '': '' }),
      () => pick(oddTexts),
      () => pick(oddNumbers),
      () => chance(0.5),
    ])();
  }

  function resolve(schema: Schema | undefined): Schema | undefined {
    const ref = schema?.$ref ?? (schema?.allOf?.[0] as Schema | undefined)?.$ref;
    return ref === undefined ? schema : schemas[ref.slice(ref.lastIndexOf('/') + 1)];
  }

  /** A value that the schema allows, mostly. */
  function allowed(given: Schema | undefined, depth: number): Json {
    const schema = resolve(given);
    if (schema === undefined || chance(0.05)) return value();
    const choices = schema.enum as readonly Json[] | undefined;
    if (choices !== undefined && chance(0.9)) return pick(choices);
    switch (schema.type) {
      case 'string':
        return chance(0.5)
          ? pick(['odd', 'a', '1', '1h', '10.1.2.3', 'https://127.0.0.1:1/', '2026-01-01T00:00:00Z', 'bw=='])
          : pick(oddTexts);
      case 'integer':
      case 'number':
        return pick(oddNumbers);
      case 'boolean':
        return chance(0.5);
      case 'array': {
        if (depth <= 0 || chance(0.3)) return [];
        return Array.from({ length: 1 + Math.floor(random() * 2) }, () => allowed(schema.items as Schema, depth - 1));
      }
      default: {
        const properties = Object.entries((schema.properties ?? {}) as Record<string, Schema>);
        if (properties.length === 0) return chance(0.5) ? {} : { [pick(['a', 'odd', 'example.com/x'])]: pick(oddTexts) };
        const required = new Set((schema.required ?? []) as readonly string[]);
        const share = depth <= 0 ? 0 : Math.min(0.5, 3 / properties.length);
        const given = properties.filter(([name]) => (required.has(name) ? chance(0.95) : chance(share)));
        return Object.fromEntries(given.map(([name, of]) => [name, allowed(of, depth - 1)]));
      }
    }
  }

  interface Place {
    readonly path: readonly (string | number)[];
    readonly value: Json;
  }

  function* placesIn(value: Json, path: readonly (string | number)[] = []): Iterable<Place> {
    if (path.length > 0) yield { path, value };
    if (Array.isArray(value)) for (const [index, item] of value.entries()) yield* placesIn(item as Json, [...path, index]);
    else if (typeof value === 'object' && value !== null) {
      for (const [key, item] of Object.entries(value)) yield* placesIn(item as Json, [...path, key]);
    }
  }

  function changedAt(value: Json, path: readonly (string | number)[], change: (before: Json) => Json | undefined): Json {
    const [key, ...rest] = path;
    if (key === undefined) return change(value) ?? null;
    if (Array.isArray(value)) {
      const items = [...(value as readonly Json[])];
      const next = rest.length === 0 ? change(items[key as number] ?? null) : changedAt(items[key as number] ?? null, rest, change);
      if (next === undefined) items.splice(key as number, 1);
      else items[key as number] = next;
      return items;
    }
    const map: Record<string, Json> = { ...(value as JsonMap) };
    const next = rest.length === 0 ? change(map[key] ?? null) : changedAt(map[key] ?? null, rest, change);
    if (next === undefined) delete map[key];
    else Object.defineProperty(map, key, { value: next, enumerable: true, configurable: true, writable: true });
    return map;
  }

  function schemaAt(kind: KindDefinition, path: readonly (string | number)[]): Schema | undefined {
    let schema = resolve(schemas[kind.schemaName]);
    for (const step of path) {
      if (schema === undefined) return undefined;
      const next = typeof step === 'number' ? schema.items : (schema.properties?.[step] ?? schema.additionalProperties);
      schema = typeof next === 'object' ? resolve(next as Schema) : undefined;
    }
    return schema;
  }

  /** A field that the schema knows and the object lacks, at a place where there is an object. */
  function withMore(body: JsonMap, kind: KindDefinition): JsonMap {
    const places = [{ path: [] as readonly (string | number)[], value: body as Json }, ...placesIn(body)].filter(
      (place) => typeof place.value === 'object' && place.value !== null && !Array.isArray(place.value),
    );
    const { path, value: at } = pick(places);
    const missing = Object.entries((schemaAt(kind, path)?.properties ?? {}) as Record<string, Schema>).filter(
      ([name]) => !Object.hasOwn(at as JsonMap, name) && name !== 'creationTimestamp' && name !== 'uid',
    );
    if (missing.length === 0) return body;
    const [name, schema] = pick(missing);
    return changedAt(body, [...path, name], () => allowed(schema, 3)) as JsonMap;
  }

  function mutateOnce(body: JsonMap, kind: KindDefinition): JsonMap {
    if (chance(0.45)) return withMore(body, kind);
    // Fields that a request needs to reach its kind stay, mostly: the object differs in the rest.
    const places = [...placesIn(body)].filter(
      ({ path }) => chance(0.03) || !(path[0] === 'apiVersion' || path[0] === 'kind' || (path[0] === 'metadata' && path.length <= 2)),
    );
    if (places.length === 0) return withMore(body, kind);
    const { path } = pick(places);
    return pick<() => Json>([
      () => changedAt(body, path, () => undefined),
      () => changedAt(body, path, () => undefined),
      () => changedAt(body, path, () => null),
      () => changedAt(body, path, (before) => (Array.isArray(before) ? [] : typeof before === 'object' ? {} : pick(oddTexts))),
      () => changedAt(body, path, () => allowed(schemaAt(kind, path), 3)),
      () => changedAt(body, path, () => value()),
    ])() as JsonMap;
  }

  return {
    value,
    mutate(body, kind) {
      let changed = body;
      const changes = 1 + Math.floor(random() * 4);
      for (let change = 0; change < changes; change += 1) changed = mutateOnce(changed, kind);
      return changed;
    },
  };
}
