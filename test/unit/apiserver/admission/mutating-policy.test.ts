import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type MutatingAdmissionPolicy,
  mutatingAdmissionPolicies,
  mutatingAdmissionPolicyBindings,
} from '../../../../src/api/admissionregistration/v1/admission-policy.ts';
import { deployments } from '../../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../../src/api/core/v1/config-map.ts';
import { pods } from '../../../../src/api/core/v1/pod.ts';
import { secrets } from '../../../../src/api/core/v1/secret.ts';
import type { Client } from '../../../../src/client/client.ts';
import type { KubeObject } from '../../../../src/machinery/object.ts';
import { isStatusError, type StatusError } from '../../../../src/machinery/status-error.ts';
import { openMemoryStorage } from '../../../../src/storage/memory/storage.ts';
import { startSeededApi, type TestApi } from '../../../support/api.ts';

const namespace = 'shop';
let api: TestApi;
let client: Client;
beforeEach(async () => {
  api = await startSeededApi([namespace]);
  client = api.clientFor();
});
afterEach(() => api.stop());

type Spec = NonNullable<MutatingAdmissionPolicy['spec']>;
const apiVersion = 'admissionregistration.k8s.io/v1';
const on = (resources: string, apiGroups = '', operations = ['CREATE', 'UPDATE']): NonNullable<Spec['matchConstraints']> => ({
  resourceRules: [{ operations, apiGroups: [apiGroups], apiVersions: ['v1'], resources: [resources] }],
});
const apply = (expression: string) => ({ patchType: 'ApplyConfiguration', applyConfiguration: { expression } });
const patch = (expression: string) => ({ patchType: 'JSONPatch', jsonPatch: { expression } });
const makePolicy = (name: string, spec: Spec) =>
  client.create(mutatingAdmissionPolicies, {
    apiVersion,
    kind: 'MutatingAdmissionPolicy',
    metadata: { name },
    spec: { matchConstraints: on('configmaps'), reinvocationPolicy: 'Never', ...spec },
  });
async function inForce(name: string, spec: Spec, binding: object = {}): Promise<void> {
  await makePolicy(name, spec);
  await client.create(mutatingAdmissionPolicyBindings, {
    apiVersion,
    kind: 'MutatingAdmissionPolicyBinding',
    metadata: { name },
    spec: { policyName: name, ...binding },
  });
}
const makeMap = (name: string, more: object = {}) =>
  client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, ...more });

async function refusalOf(write: Promise<KubeObject>): Promise<StatusError> {
  const err: unknown = await write.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isStatusError(err)) throw new Error('expected a refusal', { cause: err });
  return err;
}

describe('an apply configuration', () => {
  test('is merged into the object, and belongs to no client', async () => {
    await inForce('label', {
      variables: [{ name: 'team', expression: "namespaceObject.metadata.name + '-' + request.namespace" }],
      mutations: [apply('Object{metadata: Object.metadata{labels: {"team": variables.team}}, data: {"a": "policy"}}')],
    });
    const map = await makeMap('m', { data: { a: 'client', b: 'client' } });
    expect(map.metadata.labels).toEqual({ team: 'shop-shop' });
    expect(map.data).toEqual({ a: 'policy', b: 'client' });
    expect(JSON.stringify(map.metadata.managedFields)).not.toContain('f:team');
  });

  test('puts a sidecar beside the containers that are there, by its name', async () => {
    await inForce('sidecar', {
      matchConstraints: on('pods', '', ['CREATE']),
      matchConditions: [{ name: 'absent', expression: "!object.spec.containers.exists(c, c.name == 'mesh')" }],
      mutations: [
        apply(`Object{
          spec: Object.spec{
            containers: [Object.spec.containers{name: "mesh", image: has(object.metadata.labels) ? "mesh:1" : "mesh:0"}]
          }
        }`),
      ],
    });
    const pod = await client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', namespace, labels: { a: 'b' } },
      spec: { containers: [{ name: 'main', image: 'main:1' }] },
    });
    expect(pod.spec.containers).toMatchObject([{ name: 'main' }, { name: 'mesh', image: 'mesh:1', imagePullPolicy: 'IfNotPresent' }]);
  });

  test('names the parts of an object by their places, fields that there are, and no whole lists', async () => {
    await inForce('wrong', { mutations: [apply('Object{metadata: Object.spec{labels: {"a": "b"}}}')] });
    const refused = await refusalOf(makeMap('m'));
    expect([refused.code, refused.reason]).toEqual([403, 'Invalid']);
    expect(refused.message).toBe(
      `policy 'wrong' with binding 'wrong' denied request: type mismatch: unexpected type name "Object.spec", expected "Object.metadata", which matches field name path from root Object type`,
    );
    await client.delete(mutatingAdmissionPolicies, { name: 'wrong' });
    await inForce('odd', { mutations: [apply('Object{dta: {"a": "b"}}')] });
    expect((await refusalOf(makeMap('m'))).message).toContain('field not declared in schema');
    await client.delete(mutatingAdmissionPolicies, { name: 'odd' });
    await inForce('atomic', {
      matchConstraints: on('pods'),
      mutations: [apply('Object{spec: Object.spec{containers: [Object.spec.containers{name: "c", command: ["x"]}]}}')],
    });
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace }, spec: { containers: [{ name: 'c', image: 'i' }] } };
    expect((await refusalOf(client.create(pods, pod))).message).toContain(
      'may not mutate atomic arrays, maps or structs: .spec.containers[0].command',
    );
  });
});

describe('a JSON patch', () => {
  test('is carried out, also on keys with slashes', async () => {
    await inForce('patch', {
      mutations: [
        patch(`[
          JSONPatch{op: "test", path: "/data/mode", value: "auto"},
          JSONPatch{op: "replace", path: "/data/mode", value: "manual"},
          JSONPatch{op: "add", path: "/metadata/labels", value: {}},
          JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("shop.example/by"), value: request.userInfo.username},
        ]`),
      ],
    });
    const map = await makeMap('m', { data: { mode: 'auto' } });
    expect([map.data, map.metadata.labels]).toEqual([{ mode: 'manual' }, { 'shop.example/by': 'admin' }]);
    // A test that fails leaves the object alone.
    expect((await makeMap('other', { data: { mode: 'off' } })).metadata.labels).toBeUndefined();
  });

  test('takes parts of an object for values, and sees a version other than the stored one', async () => {
    await inForce('strategy', {
      matchConstraints: on('deployments', 'apps'),
      mutations: [patch('[JSONPatch{op: "add", path: "/spec/strategy", value: Object.spec.strategy{type: "Recreate"}}]')],
    });
    const deployment = await client.create(deployments, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'd', namespace },
      spec: {
        selector: { matchLabels: { a: 'b' } },
        template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
      },
    });
    expect(deployment.spec.strategy).toEqual({ type: 'Recreate' });
  });
});

describe('a policy', () => {
  test('is refused when it is written, unless its expressions come to what its patch type wants', async () => {
    const causesOf = async (mutation: object): Promise<string> => {
      const refused = await refusalOf(makePolicy('bad', { mutations: [mutation as ReturnType<typeof apply>] }));
      expect(refused.code).toBe(422);
      return refused.details?.causes?.map(({ field, message }) => `${field}: ${message}`).join('\n') ?? '';
    };
    expect(await causesOf(apply('Object{'))).toContain(
      'spec.mutations[0].applyConfiguration.expression: Invalid value: "Object{": compilation failed: ERROR:',
    );
    expect(await causesOf(apply('1'))).toContain('must evaluate to Object');
    expect(await causesOf(apply('[JSONPatch{}]'))).toContain('must evaluate to Object');
    expect(await causesOf(patch('Object{}'))).toContain('must evaluate to list(JSONPatch)');
    expect(await causesOf(patch('[JSONPatch{operation: "add"}]'))).toContain("undefined field 'operation'");
    expect(await causesOf(patch('[JSONPatch{op: 1}]'))).toContain("expected type of field 'op' is 'string' but provided type is 'int'");
    expect(await causesOf({ patchType: 'Foo' })).toContain('spec.mutations[0].patchType: Unsupported value: "Foo"');
    expect(await causesOf({ patchType: 'JSONPatch' })).toContain('spec.mutations[0].jsonPatch: Required value');
    expect(await causesOf({ ...apply('Object{}'), ...patch('[]'), patchType: 'JSONPatch' })).toContain('applyConfiguration');
    await makePolicy('good', { mutations: [apply('Object{}'), patch('[]')] });
  });

  test('runs for each of its parameters, and for nothing that its binding leaves out', async () => {
    const settings = (name: string, labels: Record<string, string>, data: Record<string, string>) =>
      client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace, labels }, data });
    await settings('one', { settings: 'yes' }, { key: 'a' });
    await settings('two', { settings: 'yes' }, { key: 'b' });
    await inForce(
      'params',
      {
        paramKind: { apiVersion: 'v1', kind: 'ConfigMap' },
        mutations: [apply('Object{data: {params.data.key: params.metadata.name}}')],
      },
      {
        paramRef: { selector: { matchLabels: { settings: 'yes' } }, parameterNotFoundAction: 'Deny' },
        matchResources: { objectSelector: { matchLabels: { mutate: 'yes' } } },
      },
    );
    expect((await makeMap('plain')).data).toBeUndefined();
    const map = await client.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'm', namespace, labels: { mutate: 'yes' } },
    });
    expect(map.data).toEqual({ a: 'one', b: 'two' });
  });

  test('that fails refuses the write, unless its failures are ignored', async () => {
    await inForce('fails', { mutations: [apply('Object{data: {"a": object.data.missing}}')] });
    const refused = await refusalOf(makeMap('m'));
    expect(refused.message).toContain("policy 'fails' with binding 'fails' denied request: expression");
    expect(refused.message).toContain('no such key: data');
    await client.patch(mutatingAdmissionPolicies, { name: 'fails' }, { type: 'merge', body: { spec: { failurePolicy: 'Ignore' } } });
    expect((await makeMap('m')).data).toBeUndefined();
  });

  test('is asked again for what a later one changed, when it says so', async () => {
    const copies = (key: string) =>
      apply(`Object{data: {"${key}": has(object.data) && "late" in object.data ? object.data.late : "unseen"}}`);
    await inForce('a-once', { mutations: [copies('once')] });
    await inForce('b-again', { mutations: [copies('again')], reinvocationPolicy: 'IfNeeded' });
    await inForce('c-late', { mutations: [apply('Object{data: {"late": "yes"}}')] });
    expect((await makeMap('m')).data).toEqual({ once: 'unseen', again: 'yes', late: 'yes' });
  });

  test('that an earlier server stored and this one cannot read fails for what it is about, and ends nothing else', async () => {
    const storage = await openMemoryStorage();
    const spec = { variables: 'none', failurePolicy: 'Fail', reinvocationPolicy: 'Never', mutations: [apply('Object{}')] };
    const common = { apiVersion, metadata: { name: 'old', uid: 'u' } };
    const stored = [
      ['mutatingadmissionpolicies', { ...common, kind: 'MutatingAdmissionPolicy', spec: { ...spec, matchConstraints: on('configmaps') } }],
      ['mutatingadmissionpolicybindings', { ...common, kind: 'MutatingAdmissionPolicyBinding', spec: { policyName: 'old' } }],
    ] as const;
    for (const [resource, object] of stored) {
      await storage.create(`admissionregistration.k8s.io/${resource}/old`, { text: JSON.stringify(object) });
    }
    await api.stop();
    api = await startSeededApi([namespace], { storage });
    client = api.clientFor();
    expect((await refusalOf(makeMap('m'))).message).toContain("policy 'old' with binding 'old' denied request: compilation error");
    await client.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's', namespace } });
  });

  test('never changes the configuration of admission itself', async () => {
    await inForce('all', {
      matchConstraints: { resourceRules: [{ operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*'] }] },
      mutations: [apply('Object{metadata: Object.metadata{labels: {"all": "yes"}}}')],
    });
    expect((await makePolicy('free', { mutations: [apply('Object{}')] })).metadata.labels).toBeUndefined();
    expect((await makeMap('m')).metadata.labels).toEqual({ all: 'yes' });
  });
});
