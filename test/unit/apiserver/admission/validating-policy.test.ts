import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type AdmissionPolicyBinding,
  type ValidatingAdmissionPolicy,
  validatingAdmissionPolicies,
  validatingAdmissionPolicyBindings,
} from '../../../../src/api/admissionregistration/v1/admission-policy.ts';
import { deployments } from '../../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../../src/api/core/v1/namespace.ts';
import { secrets } from '../../../../src/api/core/v1/secret.ts';
import { roles } from '../../../../src/api/rbac/v1/role.ts';
import { roleBindings } from '../../../../src/api/rbac/v1/role-binding.ts';
import type { Client } from '../../../../src/client/client.ts';
import { isStatusError, type StatusError } from '../../../../src/machinery/status-error.ts';
import { startSeededApi, type TestApi } from '../../../support/api.ts';
import { until } from '../../../support/until.ts';

const namespace = 'shop';
let api: TestApi;
let client: Client;

beforeEach(async () => {
  api = await startSeededApi([namespace, 'other']);
  client = api.clientFor();
});
afterEach(() => api.stop());

const group = 'admissionregistration.k8s.io/v1';
const onConfigMaps = { resourceRules: [{ operations: ['*'], apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'] }] };

function makePolicy(spec: NonNullable<ValidatingAdmissionPolicy['spec']>, name = 'p'): Promise<ValidatingAdmissionPolicy> {
  return client.create(validatingAdmissionPolicies, {
    apiVersion: group,
    kind: 'ValidatingAdmissionPolicy',
    metadata: { name },
    spec: { matchConstraints: onConfigMaps, ...spec },
  });
}

function bind(spec: object = {}, name = 'b'): Promise<AdmissionPolicyBinding> {
  return client.create(validatingAdmissionPolicyBindings, {
    apiVersion: group,
    kind: 'ValidatingAdmissionPolicyBinding',
    metadata: { name },
    spec: { policyName: 'p', validationActions: ['Deny'], ...spec },
  });
}

const observed = (generation: number): Promise<ValidatingAdmissionPolicy> =>
  until(
    async () => {
      const policy = await client.get(validatingAdmissionPolicies, { name: 'p' });
      return policy.status?.observedGeneration === generation && policy;
    },
    { what: `the status of generation ${generation}` },
  );

const make = (name: string, data: Record<string, string> = {}, where = namespace, onWarning?: (text: string) => void) =>
  client.create(
    configMaps,
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: where }, data },
    onWarning === undefined ? {} : { onWarning },
  );

async function failureOf(write: Promise<unknown>): Promise<StatusError> {
  const err = await write.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isStatusError(err)) throw new Error('expected a StatusError', { cause: err });
  return err;
}

const saysOf = async (write: Promise<unknown>): Promise<string> => (await failureOf(write)).message.replace(/^.*?denied request: /, '');

describe('a policy', () => {
  test('denies with the message of its first expression that does not hold', async () => {
    await makePolicy({ validations: [{ expression: "!('forbidden' in object.data)", message: 'no forbidden key' }] });
    await make('before', { forbidden: '1' });
    await bind();
    const err = await failureOf(make('v', { forbidden: '1' }));
    const text = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no forbidden key";
    expect(err.toStatus()).toEqual({
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: `configmaps "v" is forbidden: ${text}`,
      reason: 'Invalid',
      details: { name: 'v', kind: 'configmaps', causes: [{ message: text }] },
      code: 422,
    });
    await make('v', { allowed: '1' });
  });

  test('says the expression when it has no message, and makes one when it can', async () => {
    await makePolicy({
      validations: [
        { expression: 'object.metadata.name != "a" ' },
        { expression: 'object.metadata.name != "b"', messageExpression: '"not " + object.metadata.name', message: 'static' },
        { expression: 'object.metadata.name != "c"', messageExpression: '"two\\nlines"', message: 'static' },
        { expression: 'object.metadata.name != "d"', reason: 'Forbidden' },
      ],
    });
    await bind();
    expect(await saysOf(make('a'))).toBe('failed expression: object.metadata.name != "a"');
    expect(await saysOf(make('b'))).toBe('not b');
    expect(await saysOf(make('c'))).toBe('static');
    const err = await failureOf(make('d'));
    expect([err.code, err.reason]).toEqual([403, 'Forbidden']);
  });

  test('warns and notes where its binding says so', async () => {
    await makePolicy({ validations: [{ expression: 'false', message: 'never' }] });
    await bind({ validationActions: ['Warn', 'Audit'] });
    const warnings: string[] = [];
    await make('a', {}, namespace, (text) => warnings.push(text));
    expect(warnings).toEqual(["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': never"]);
    const notes: Record<string, string> = {};
    const request = {
      user: { name: 'u', groups: ['system:masters'] },
      userAgent: 'test',
      onAuditAnnotation: (key: string, value: string) => Object.assign(notes, { [key]: value }),
    };
    await api.kubeApi.create({ ...request, kind: configMaps }, namespace, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'b', namespace },
    });
    expect(JSON.parse(notes['validation.policy.admission.k8s.io/validation_failure'] ?? '')).toEqual([
      { message: 'never', policy: 'p', binding: 'b', expressionIndex: 0, validationActions: ['Warn', 'Audit'] },
    ]);
  });

  test('notes no value of a Secret', async () => {
    await makePolicy({
      matchConstraints: { resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['secrets'] }] },
      validations: [{ expression: 'false', messageExpression: '"it is " + string(object.data.password)' }],
      auditAnnotations: [{ key: 'value', valueExpression: 'string(object.data.password)' }],
    });
    await bind({ validationActions: ['Audit'] });
    const notes: string[] = [];
    const request = {
      user: { name: 'u', groups: ['system:masters'] },
      userAgent: 'test',
      onAuditAnnotation: (key: string, value: string) => void notes.push(`${key}: ${value}`),
    };
    const password = Buffer.from('canary').toString('base64');
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's', namespace }, data: { password } };
    await api.kubeApi.create({ ...request, kind: secrets }, namespace, secret);
    expect(notes.join('\n')).toContain('p/value: left out: the object is a Secret');
    expect(notes.join('\n')).toContain('"message":"left out: the object is a Secret"');
    expect(notes.join('\n')).not.toContain(password);
  });

  test('knows what changes, who asks and where', async () => {
    await client.patch(namespaces, { name: 'other' }, { type: 'merge', body: { metadata: { labels: { team: 'x' } } } });
    await makePolicy({
      matchConditions: [{ name: 'changes', expression: 'request.operation in ["UPDATE", "DELETE"]' }],
      variables: [
        { name: 'team', expression: "namespaceObject.metadata.?labels['team'].orValue('none')" },
        { name: 'text', expression: "variables.team + '/' + request.userInfo.username" },
      ],
      validations: [
        {
          expression: 'request.operation != "UPDATE" || object.data == oldObject.data',
          messageExpression: "'frozen for ' + variables.text",
        },
        { expression: 'request.operation != "DELETE" || (object == null && oldObject.metadata.name != "keep")', message: 'kept' },
      ],
    });
    await bind();
    await make('keep', { a: '1' }, 'other');
    const ref = { namespace: 'other', name: 'keep' };
    expect(await saysOf(client.patch(configMaps, ref, { type: 'merge', body: { data: { a: '2' } } }))).toBe('frozen for x/admin');
    await client.patch(configMaps, ref, { type: 'merge', body: { metadata: { labels: { l: 'v' } } } });
    expect(await saysOf(client.delete(configMaps, ref))).toBe('kept');
  });

  test('asks what its user may do', async () => {
    await makePolicy({
      validations: [
        {
          expression: "authorizer.group('').resource('secrets').namespace('shop').check('get').allowed()",
          message: 'who may not read secrets makes no maps',
        },
        { expression: "authorizer.requestResource.check('create').allowed()", message: 'never' },
        { expression: "!authorizer.serviceAccount('shop', 'default').path('/metrics').check('get').allowed()", message: 'never' },
      ],
    });
    await bind();
    const rules = (resources: string[]) => [{ verbs: ['*'], apiGroups: [''], resources }];
    await client.create(roles, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: { name: 'r', namespace },
      rules: rules(['configmaps']),
    });
    await client.create(roleBindings, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: 'r', namespace },
      subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'alice' }],
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'r' },
    });
    const alice = api.clientFor({ name: 'alice', groups: ['system:authenticated'] });
    const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace } };
    expect(await saysOf(alice.create(configMaps, map))).toBe('who may not read secrets makes no maps');
    const role = await client.get(roles, { namespace, name: 'r' });
    await client.update(roles, { ...role, rules: rules(['configmaps', 'secrets']) });
    await alice.create(configMaps, map);
  });

  test('is put to writes once for each of its parameters', async () => {
    await makePolicy({
      paramKind: { apiVersion: 'v1', kind: 'ConfigMap' },
      matchConditions: [{ name: 'not-params', expression: "!object.metadata.name.startsWith('limit')" }],
      validations: [{ expression: 'object.data.size() <= int(params.data.max)', messageExpression: "'at most ' + params.data.max" }],
    });
    await bind({ paramRef: { selector: { matchLabels: { limit: 'yes' } }, parameterNotFoundAction: 'Deny' } });
    const two = { a: '1', b: '2' };
    expect(await failureOf(make('x', two)).then(({ message }) => message)).toContain(
      'failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction',
    );
    await client.delete(validatingAdmissionPolicyBindings, { name: 'b' });
    for (const [name, max] of [
      ['limit-a', '5'],
      ['limit-b', '1'],
    ] as const) {
      await client.create(configMaps, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name, namespace, labels: { limit: 'yes' } },
        data: { max },
      });
    }
    await bind({ paramRef: { selector: { matchLabels: { limit: 'yes' } }, parameterNotFoundAction: 'Allow' } });
    expect(await saysOf(make('x', two))).toBe('at most 1');
    await make('x', two, 'other');
    await bind({ paramRef: { name: 'limit-a', namespace, parameterNotFoundAction: 'Deny' } }, 'named');
    await client.delete(validatingAdmissionPolicyBindings, { name: 'b' });
    await make('y', two);
  });

  test('fails as its failure policy says when its condition cannot be evaluated', async () => {
    await makePolicy({ validations: [{ expression: 'object.data.missing == "x"' }] });
    const policy = await observed(1);
    await bind();
    expect(await saysOf(make('a', { k: 'v' }))).toBe(`expression 'object.data.missing == "x"' resulted in error: no such key: missing`);
    await client.update(validatingAdmissionPolicies, { ...policy, spec: { ...policy.spec, failurePolicy: 'Ignore' } });
    await make('a', { k: 'v' });
  });

  test('that runs without end is cut off', async () => {
    const nested = '[1,2,3,4,5,6,7,8,9,10].all(a, '.repeat(8);
    await makePolicy({ validations: [{ expression: `${nested}true${')'.repeat(8)}` }] });
    await bind();
    expect(await saysOf(make('a'))).toMatch(/cost limit exceeded|nested/);
  }, 20_000);

  test('is about what its rules and those of its binding name', async () => {
    await makePolicy({
      matchConstraints: {
        resourceRules: [{ operations: ['CREATE', 'UPDATE'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*', '*/scale'] }],
        excludeResourceRules: [
          { operations: ['*'], apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'], resourceNames: ['free'] },
        ],
      },
      validations: [{ expression: "request.kind.kind != 'Scale' || object.spec.replicas < 5", message: 'too many' }],
    });
    await bind({
      matchResources: {
        namespaceSelector: { matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: [namespace] }] },
      },
    });
    const template = { metadata: { labels: { app: 'a' } }, spec: { containers: [{ name: 'c', image: 'i' }] } };
    for (const where of [namespace, 'other']) {
      await client.create(deployments, {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'web', namespace: where },
        spec: { selector: { matchLabels: { app: 'a' } }, template },
      } as never);
    }
    const scale = (where: string) =>
      client.patch(
        deployments,
        { namespace: where, name: 'web' },
        { type: 'merge', body: { spec: { replicas: 9 } } },
        { subresource: 'scale' },
      );
    expect(await saysOf(scale(namespace))).toBe('too many');
    await scale('other');
  });

  test('cannot lock the policies themselves', async () => {
    await makePolicy({
      matchConstraints: { resourceRules: [{ operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*/*'] }] },
      validations: [{ expression: 'false' }],
    });
    await bind();
    expect((await failureOf(make('a'))).code).toBe(422);
    await client.delete(validatingAdmissionPolicyBindings, { name: 'b' });
    await make('a');
  });
});

describe('expressions', () => {
  test('that cannot be compiled are refused when they are written', async () => {
    const err = await failureOf(
      makePolicy({
        variables: [{ name: 'v', expression: '1 +' }],
        validations: [{ expression: 'nothing == 1', messageExpression: '1' }, { expression: '"text"' }],
      }),
    );
    expect(err.code).toBe(422);
    expect(err.details?.causes?.map(({ field, message = '' }) => [field, message.split('\n')[0]])).toEqual([
      ['spec.variables[0].expression', expect.stringContaining('compilation failed: ERROR: <input>:1:4: ')],
      [
        'spec.validations[0].expression',
        expect.stringContaining(`compilation failed: ERROR: <input>:1:1: undeclared reference to 'nothing'`),
      ],
      ['spec.validations[0].messageExpression', 'Invalid value: "1": must evaluate to string'],
      ['spec.validations[1].expression', 'Invalid value: "\\"text\\"": must evaluate to bool'],
    ]);
  });

  test('that names what is not there is refused when it is written', async () => {
    const err = await failureOf(
      makePolicy({
        variables: [{ name: 'word', expression: "'a'" }],
        validations: [
          { expression: "request.user.name == 'x'" },
          { expression: "namespaceObject.metadata.label == 'x'" },
          { expression: 'params.x == 1' },
          { expression: 'variables.word > 1' },
          { expression: 'variables.other == 1' },
          { expression: 'authorizer.allowed()' },
          { expression: "authorizer.path('/x').allowed()" },
        ],
        auditAnnotations: [{ key: 'k', valueExpression: '1' }],
      }),
    );
    expect(
      err.details?.causes?.map(({ field, message = '' }) => [
        field,
        /(?:<input>:\d+:\d+: |: )([^:]*)$/.exec(message.split('\n')[0] ?? '')?.[1],
      ]),
    ).toEqual([
      ['spec.validations[0].expression', "undefined field 'user'"],
      ['spec.validations[1].expression', "undefined field 'label'"],
      ['spec.validations[2].expression', "undeclared reference to 'params' (in container '')"],
      ['spec.validations[3].expression', "found no matching overload for '_>_' applied to '(string, int)'"],
      ['spec.validations[4].expression', "undefined field 'other'"],
      ['spec.validations[5].expression', "found no matching overload for 'allowed' applied to 'kubernetes.authorization.Authorizer.()'"],
      ['spec.validations[6].expression', "found no matching overload for 'allowed' applied to 'kubernetes.authorization.PathCheck.()'"],
      ['spec.auditAnnotations[0].valueExpression', 'must evaluate to one of [string null_type]'],
    ]);
  });

  test('says in its status what cannot be right for the kinds it is about', async () => {
    const rule = {
      operations: ['*'],
      apiGroups: ['apps', ''],
      apiVersions: ['v1'],
      resources: ['deployments', 'configmaps', 'pods/status'],
    };
    await makePolicy({
      matchConstraints: { resourceRules: [rule] },
      paramKind: { apiVersion: 'v1', kind: 'ConfigMap' },
      variables: [{ name: 'image', expression: 'object.spec.template.spec.containers[0].image' }],
      validations: [
        { expression: "object.metadata.name != 'x' && params.data.size() > 0" },
        { expression: 'object.spec.replicas > 1', messageExpression: "'at ' + object.metadata.creationTimestamp" },
        { expression: "object.kind != 'Deployment' || object.data.x == 1" },
      ],
    });
    const warnings = (await observed(1)).status?.typeChecking?.expressionWarnings ?? [];
    expect(warnings.map(({ fieldRef }) => fieldRef)).toEqual([
      'spec.validations[1].expression',
      'spec.validations[1].messageExpression',
      'spec.validations[2].expression',
    ]);
    expect(warnings[0]?.warning).toBe(
      "/v1, Kind=ConfigMap: ERROR: <input>:1:7: undefined field 'spec'\n | object.spec.replicas > 1\n | ......^\n",
    );
    expect(warnings[1]?.warning.match(/Kind=\w+/g)).toEqual(['Kind=ConfigMap', 'Kind=Deployment']);
    expect(warnings[2]?.warning).toContain(
      "/v1, Kind=ConfigMap: ERROR: <input>:1:46: found no matching overload for '_==_' applied to '(string, int)'",
    );
    expect(warnings[2]?.warning).toContain("\n\napps/v1, Kind=Deployment: ERROR: <input>:1:38: undefined field 'data'");
  });

  test('cause no warning for unknown kinds, and one status for each generation', async () => {
    const policy = await makePolicy({ validations: [{ expression: 'object.data.size() > 0' }] });
    const checked = await observed(1);
    expect(checked.status).toEqual({ observedGeneration: 1, typeChecking: {} });
    expect(checked.metadata.managedFields?.map(({ manager, subresource }) => [manager, subresource])).toContainEqual([
      'validatingadmissionpolicy-status',
      'status',
    ]);
    const rule = { operations: ['*'], apiGroups: ['*'], apiVersions: ['v1'], resources: ['configmaps'] };
    await client.update(validatingAdmissionPolicies, {
      ...checked,
      spec: { ...policy.spec, matchConstraints: { resourceRules: [rule] }, validations: [{ expression: 'object.nothing == 1' }] },
    });
    expect((await observed(2)).status).toEqual({ observedGeneration: 2, typeChecking: {} });
  });
});
