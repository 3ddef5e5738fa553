import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEndpointSliceController } from '../../../src/controllers/endpoint-slice/endpoint-slice-controller.ts';
import { createEndpointsController } from '../../../src/controllers/endpoints/endpoints-controller.ts';
import { createServiceAccountController } from '../../../src/controllers/service-account.ts';
import { createTokenSecretController } from '../../../src/controllers/token-secrets.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { startControllers } from '../../support/control-plane.ts';
import { hasKubectl, kubectlSteps } from '../../support/kubectl.ts';
import { until } from '../../support/until.ts';

const statefulSets = fileURLToPath(new URL('stateful-sets.yaml', import.meta.url));

const definition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: tanks.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: tanks, singular: tank, kind: Tank}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {litres: {type: integer}, fuel: {type: string}}}}}}
  - name: v1beta1
    served: true
    storage: false
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {litres: {type: integer, minimum: 5}, fuel: {type: string, default: diesel}}
`;
const tank = (litres: number): string => `apiVersion: example.com/v1beta1\nkind: Tank\nmetadata: {name: t}\nspec: {litres: ${litres}}\n`;

const tokenSecret = `apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
---
apiVersion: v1
kind: Secret
metadata: {name: robot-token, annotations: {kubernetes.io/service-account.name: robot}}
type: kubernetes.io/service-account-token
`;

const policy = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: team}
spec:
  matchConstraints:
    resourceRules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [configmaps]}]
  failurePolicy: Fail
  reinvocationPolicy: Never
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: 'Object{metadata: Object.metadata{labels: {"team": request.namespace}}}'
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: team}
spec: {policyName: team}
`;

describe.skipIf(!hasKubectl)('objects of charts and tools, under an unmodified kubectl (needs kubectl)', () => {
  let cluster: TestApiServer;
  let controllers: { stop(): Promise<void> };

  const { ok, refused, file } = kubectlSteps(() => cluster);

  beforeAll(async () => {
    cluster = await startTestApiServer();
    const { tokens } = cluster.api.kubeApi;
    if (tokens === undefined) throw new Error('the server issues no tokens');
    controllers = await startControllers(cluster.api.clientFor(), [
      createServiceAccountController,
      createEndpointSliceController,
      createEndpointsController,
      (dependencies) =>
        createTokenSecretController({
          ...dependencies,
          caCertificate: cluster.pki.caCertificate,
          issueToken: (account, secretName) => tokens.issueForSecret(account, secretName),
        }),
    ]);
  });
  afterAll(async () => {
    await controllers.stop();
    await cluster.stop();
  });

  it('StatefulSets mount the claims that they make, and nothing that is not there', async () => {
    await ok('apply', '--server-side', '-f', statefulSets);
    await ok('apply', '--server-side', '--dry-run=server', '-f', statefulSets);
    expect(await ok('get', 'statefulsets', '-o', 'name')).toBe(
      ['alertmanager', 'cassandra', 'minio', 'postgresql', 'prometheus', 'web'].map((name) => `statefulset.apps/${name}\n`).join(''),
    );
    const text = await readFile(statefulSets, 'utf8');
    const other = await file('other.yaml', text.replaceAll('name: www, mountPath', 'name: gone, mountPath'));
    expect(await refused('create', '--namespace=kube-public', '--dry-run=server', '-f', other)).toContain(
      'volumeMounts[0].name: Not found: "gone"',
    );
  });

  it('Endpoints show where the API and each Service are', async () => {
    const { port } = new URL(cluster.server.url);
    expect(await ok('get', 'ep', 'kubernetes', '--no-headers')).toMatch(new RegExp(`^kubernetes +127\\.64\\.0\\.1:${port} `));
    expect(await ok('get', 'ep', 'kubernetes', '-o', 'jsonpath={.metadata.labels}')).toBe(
      '{"endpointslice.kubernetes.io/skip-mirror":"true"}',
    );
    await ok('create', 'service', 'clusterip', 'empty', '--tcp=80');
    await until(async () => (await cluster.kubectl('get', 'ep', 'empty', '--no-headers')).stdout.includes('<none>'), {
      what: 'Endpoints of the Service',
    });
  });

  it('an apply in a version that is not the stored one is held to its own schema', async () => {
    await ok('apply', '-f', await file('crd.yaml', definition));
    await ok('wait', '--for=condition=established', '--timeout=30s', 'crd/tanks.example.com');
    const apply = async (litres: number) => ['apply', '--server-side', '-f', await file('tank.yaml', tank(litres))];
    expect(await refused(...(await apply(1)))).toContain('should be greater than or equal to 5');
    await ok(...(await apply(50)));
    expect(await ok('get', 'tanks.v1beta1.example.com', 't', '-o', 'jsonpath={.spec}')).toBe('{"fuel":"diesel","litres":50}');
  });

  it('the token of a Secret lets its account in', async () => {
    await ok('apply', '-f', await file('token.yaml', tokenSecret));
    const token = await until(async () => ok('get', 'secret', 'robot-token', '-o', 'jsonpath={.data.token}'), { what: 'a token' });
    const kubeconfig = {
      clusters: [
        {
          name: 'c',
          cluster: { server: cluster.server.url, 'certificate-authority-data': Buffer.from(cluster.pki.caCertificate).toString('base64') },
        },
      ],
      users: [{ name: 'u', user: { token: Buffer.from(token, 'base64').toString() } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    };
    const path = await file('robot.json', JSON.stringify(kubeconfig));
    expect(await ok('--kubeconfig', path, 'auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}')).toBe(
      'system:serviceaccount:default:robot',
    );
  });

  it('a mutating policy changes what is created, and is refused when it could not', async () => {
    const broken = await file('broken.yaml', policy.replace('Object{metadata', '1 + Object{metadata'));
    expect(await refused('create', '--dry-run=server', '-f', broken)).toContain('spec.mutations[0].applyConfiguration.expression');
    await ok('apply', '-f', await file('policy.yaml', policy));
    await ok('create', 'configmap', 'labelled', '--from-literal=a=b');
    expect(await ok('get', 'configmap', 'labelled', '-o', 'jsonpath={.metadata.labels.team}')).toBe('default');
  });
});
