import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Deployment, deployments } from '../../../../src/api/apps/v1/deployment.ts';
import { namespaces } from '../../../../src/api/core/v1/namespace.ts';
import { type Pod, type PodSpec, pods } from '../../../../src/api/core/v1/pod.ts';
import { createPolicyReader, describe as textOf, violationsOf } from '../../../../src/apiserver/admission/pod-security/policy.ts';
import type { Client } from '../../../../src/client/client.ts';
import { isStatusError } from '../../../../src/machinery/status-error.ts';
import { startSeededApi, type TestApi } from '../../../support/api.ts';

const latest = Number.POSITIVE_INFINITY;

function said(level: 'baseline' | 'restricted', spec: object, minor = latest, annotations: Record<string, string> = {}): string {
  return textOf(violationsOf({ level, minor }, { annotations }, { containers: [], ...spec } as PodSpec));
}

const container = (securityContext: object, more: object = {}): object => ({
  containers: [{ name: 'c', image: 'i', securityContext, ...more }],
});

/** Keeps to level restricted. */
const safe = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' },
};

describe('level baseline forbids', () => {
  test.each<[string, object, string]>([
    [
      'namespaces of the host',
      { hostNetwork: true, hostPID: true, hostIPC: true },
      'host namespaces (hostIPC=true, hostNetwork=true, hostPID=true)',
    ],
    [
      'ports of the host',
      {
        containers: [
          { name: 'a', ports: [{ containerPort: 1, hostPort: 80 }] },
          { name: 'b', ports: [{ containerPort: 1, hostPort: 443 }] },
        ],
      },
      'hostPort (containers "a", "b" use hostPorts 443, 80)',
    ],
    ['privileges', container({ privileged: true }), 'privileged (container "c" must not set securityContext.privileged=true)'],
    [
      'capabilities',
      container({ capabilities: { add: ['NET_RAW', 'CHOWN'] } }),
      'non-default capabilities (container "c" must not include "NET_RAW" in securityContext.capabilities.add)',
    ],
    ['directories of the host', { volumes: [{ name: 'v', hostPath: { path: '/' } }] }, 'hostPath volumes (volume "v")'],
    [
      'other mounts of proc',
      container({ procMount: 'Unmasked' }),
      'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
    ],
    [
      'no seccomp',
      { securityContext: { seccompProfile: { type: 'Unconfined' } }, ...container({ seccompProfile: { type: 'Unconfined' } }) },
      'seccompProfile (pod and container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
    ],
    [
      'labels of SELinux',
      container({ seLinuxOptions: { type: 'evil_t', user: 'u', role: 'r' } }),
      'seLinuxOptions (container "c" set forbidden securityContext.seLinuxOptions: type "evil_t"; user may not be set; role may not be set)',
    ],
    [
      'unsafe sysctls',
      {
        securityContext: {
          sysctls: [
            { name: 'kernel.msgmax', value: '1' },
            { name: 'net.ipv4.tcp_syncookies', value: '1' },
          ],
        },
      },
      'forbidden sysctls (kernel.msgmax)',
    ],
    [
      'processes of a Windows host',
      { securityContext: { windowsOptions: { hostProcess: true } } },
      'hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)',
    ],
    [
      'no AppArmor',
      container({ appArmorProfile: { type: 'Unconfined' } }),
      'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")',
    ],
    [
      'hosts in probes',
      {
        containers: [
          { name: 'c', livenessProbe: { httpGet: { host: 'x', port: 1 } }, lifecycle: { preStop: { tcpSocket: { host: 'y', port: 1 } } } },
        ],
      },
      'probe or lifecycle host (container "c" uses probe or lifecycle hosts "x", "y")',
    ],
  ])('%s', (_what, spec, expected) => {
    expect(said('baseline', spec)).toBe(expected);
  });

  test('nothing newer than its version', () => {
    const spec = { containers: [{ name: 'c', livenessProbe: { httpGet: { host: 'x', port: 1 } } }] };
    expect(said('baseline', spec, 33)).toBe('');
    const sysctls = { securityContext: { sysctls: [{ name: 'net.ipv4.tcp_rmem', value: '1' }] } };
    expect(said('baseline', sysctls, 31)).toBe('forbidden sysctls (net.ipv4.tcp_rmem)');
    expect(said('baseline', sysctls, 32)).toBe('');
    expect(said('baseline', {}, 18, { 'seccomp.security.alpha.kubernetes.io/pod': 'unconfined' })).toBe(
      'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")',
    );
  });

  test('annotations that switch AppArmor off', () => {
    const key = 'container.apparmor.security.beta.kubernetes.io/c';
    expect(said('baseline', {}, latest, { [key]: 'unconfined' })).toBe(
      `forbidden AppArmor profile (annotation must not set AppArmor profile type to "${key}=\\"unconfined\\"")`,
    );
    expect(said('baseline', {}, latest, { [key]: 'localhost/x' })).toBe('');
  });
});

describe('level restricted forbids', () => {
  test('pods that do not declare themselves safe', () => {
    expect(said('restricted', { containers: [{ name: 'a' }, { name: 'b' }], initContainers: [{ name: 'i' }] })).toBe(
      'allowPrivilegeEscalation != false (containers "i", "a", "b" must set securityContext.allowPrivilegeEscalation=false), ' +
        'unrestricted capabilities (containers "i", "a", "b" must set securityContext.capabilities.drop=["ALL"]), ' +
        'runAsNonRoot != true (pod or containers "i", "a", "b" must set securityContext.runAsNonRoot=true), ' +
        'seccompProfile (pod or containers "i", "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
    );
    expect(said('restricted', container(safe))).toBe('');
  });

  test('root, other volumes and more capabilities', () => {
    expect(said('restricted', container({ ...safe, runAsUser: 0 }))).toBe('runAsUser=0 (container "c" must not set runAsUser=0)');
    expect(said('restricted', container({ ...safe, runAsUser: 0 }), 22)).toBe('');
    expect(said('restricted', { securityContext: { runAsNonRoot: false }, ...container({ ...safe, runAsNonRoot: false }) })).toBe(
      'runAsNonRoot != true (pod and container "c" must not set securityContext.runAsNonRoot=false)',
    );
    expect(
      said('restricted', {
        ...container(safe),
        volumes: [
          { name: 'v', hostPath: { path: '/' } },
          { name: 'w', nfs: {} },
          { name: 'x', emptyDir: {} },
        ],
      }),
    ).toBe('restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")');
    expect(said('restricted', container({ ...safe, capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE', 'CHOWN'] } }))).toBe(
      'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)',
    );
  });

  test('nothing on Windows that only Linux has', () => {
    expect(said('restricted', { os: { name: 'windows' }, ...container({ runAsNonRoot: true }) })).toBe('');
    expect(said('restricted', { os: { name: 'windows' }, ...container({ runAsNonRoot: true }) }, 24)).toContain('seccompProfile');
  });

  test('no root in a user namespace of its own', () => {
    const { runAsNonRoot: _, ...rest } = safe;
    expect(said('restricted', { hostUsers: false, ...container({ ...rest, runAsUser: 0 }) })).toBe('');
  });
});

describe('labels of a namespace', () => {
  test('that cannot be read are enforced as the strictest', () => {
    const policy = createPolicyReader('privileged')({
      'pod-security.kubernetes.io/enforce': 'x',
      'pod-security.kubernetes.io/warn': 'y',
      'pod-security.kubernetes.io/warn-version': '2',
    });
    expect(policy).toMatchObject({ enforce: { level: 'restricted' }, warn: { level: 'privileged' }, audit: { level: 'privileged' } });
    expect(policy.errors).toHaveLength(3);
  });

  test('that say nothing leave what is enforced to the default of the server', () => {
    const policyOf = createPolicyReader('baseline');
    expect(policyOf(undefined)).toMatchObject({ enforce: { level: 'baseline' }, warn: { level: 'privileged' } });
    expect(policyOf({ team: 'a' }).enforce.level).toBe('baseline');
    expect(policyOf({ 'pod-security.kubernetes.io/warn': 'restricted' }).enforce.level).toBe('baseline');
    expect(policyOf({ 'pod-security.kubernetes.io/enforce': 'privileged' }).enforce.level).toBe('privileged');
  });
});

test('the API server enforces its default where no label says another level', async () => {
  const api = await startSeededApi(['shop'], { podSecurityDefault: 'baseline' });
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: 'shop' } };
  const spec = { hostPID: true, containers: [{ name: 'c', image: 'host/sh' }] };
  await expect(api.clientFor().create(pods, { ...pod, spec })).rejects.toThrow('violates PodSecurity "baseline:latest": host namespaces');
  await api.stop();
});

describe('the API server', () => {
  let api: TestApi;
  let client: Client;
  beforeEach(async () => {
    api = await startSeededApi(['shop']);
    client = api.clientFor();
  });
  afterEach(() => api.stop());

  const label = (labels: Record<string, string | null>, onWarning?: (text: string) => void) =>
    client.patch(
      namespaces,
      { name: 'shop' },
      { type: 'merge', body: { metadata: { labels } } },
      onWarning === undefined ? {} : { onWarning },
    );
  const pod = (name: string, securityContext: object = {}): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop' },
    spec: { automountServiceAccountToken: false, containers: [{ name: 'c', image: 'i', securityContext }] },
  });
  async function refusalOf(write: Promise<unknown>) {
    const err = await write.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (!isStatusError(err)) throw new Error('expected a refusal', { cause: err });
    return err;
  }

  test('keeps pods to the level of their namespace, whatever else they change', async () => {
    await client.create(pods, pod('old', { privileged: true }));
    const warnings: string[] = [];
    await label({ 'pod-security.kubernetes.io/enforce': 'baseline' }, (text) => warnings.push(text));
    expect(warnings).toEqual([
      'existing pods in namespace "shop" violate the new PodSecurity enforce level "baseline:latest"',
      'old: privileged',
    ]);
    const err = await refusalOf(client.create(pods, pod('new', { privileged: true })));
    expect([err.code, err.message]).toEqual([
      403,
      'pods "new" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)',
    ]);
    // Existing pods stay, and cannot get another image.
    await client.patch(pods, { namespace: 'shop', name: 'old' }, { type: 'merge', body: { metadata: { labels: { a: 'b' } } } });
    const image = client.patch(
      pods,
      { namespace: 'shop', name: 'old' },
      { type: 'json', body: [{ op: 'replace', path: '/spec/containers/0/image', value: 'j' }] },
    );
    expect((await refusalOf(image)).code).toBe(403);
    await client.create(pods, pod('fine'));
  });

  test('warns of workloads whose pods would be refused', async () => {
    await label({ 'pod-security.kubernetes.io/warn': 'baseline', 'pod-security.kubernetes.io/warn-version': 'v1.30' });
    const warnings: string[] = [];
    const template = { metadata: { labels: { app: 'a' } }, spec: { hostNetwork: true, containers: [{ name: 'c', image: 'i' }] } };
    await client.create(
      deployments,
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'd', namespace: 'shop' },
        spec: { selector: { matchLabels: { app: 'a' } }, template },
      } as Deployment,
      { onWarning: (text) => warnings.push(text) },
    );
    expect(warnings).toEqual(['would violate PodSecurity "baseline:v1.30": host namespaces (hostNetwork=true)']);
  });

  test('refuses labels that it cannot read', async () => {
    const err = await refusalOf(label({ 'pod-security.kubernetes.io/enforce': 'strict' }));
    expect([err.code, err.message]).toEqual([
      422,
      'Namespace "shop" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted',
    ]);
  });
});
