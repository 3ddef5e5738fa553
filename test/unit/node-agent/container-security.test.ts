import { describe, expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import type { LocalImage } from '../../../src/node-agent/container-runtime.ts';
import { checkSupported, identityOf, rejectionOf, securityOf } from '../../../src/node-agent/container-security.ts';
import { podLinuxOf } from '../../../src/node-agent/pod-linux.ts';

type Spec = Pod['spec'];
type Container = Spec['containers'][number];

const containerOf = (changes: Partial<Container> = {}): Container => ({ name: 'main', image: 'a', ...changes });
const podOf = (spec: Partial<Spec> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'default', uid: 'u' },
  spec: { containers: [containerOf()], ...spec },
});
const imageOf = (user?: LocalImage['user']): LocalImage => ({ reference: 'a', sizeBytes: 1, ...(user === undefined ? {} : { user }) });

describe('sysctls', () => {
  const withSysctl = (name: string, spec: Partial<Spec> = {}): Pod =>
    podOf({ ...spec, securityContext: { sysctls: [{ name, value: '1' }] } });

  it.each([
    [withSysctl('net.ipv4.tcp_syncookies'), undefined],
    [withSysctl('net/ipv4/tcp_syncookies'), undefined],
    [withSysctl('kernel.msgmax'), 'forbidden sysctl: "kernel.msgmax" not allowlisted'],
    [withSysctl('vm.overcommit_memory'), 'forbidden sysctl: "vm.overcommit_memory" not allowlisted'],
    [
      withSysctl('net.ipv4.tcp_syncookies', { hostNetwork: true }),
      'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled',
    ],
    [
      withSysctl('kernel.shm_rmid_forced', { hostIPC: true }),
      'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled',
    ],
  ])('are judged as by the kubelet (case %#)', (pod, message) => {
    expect(rejectionOf(pod)).toEqual(message === undefined ? undefined : { reason: 'SysctlForbidden', message });
  });
});

describe('users', () => {
  const nonRoot = podOf({ securityContext: { runAsNonRoot: true } });

  it('are those of the image where the pod names none', () => {
    expect(identityOf(podOf(), containerOf(), imageOf({ id: 7, name: '' }))).toBeUndefined();
    expect(identityOf(nonRoot, containerOf(), imageOf({ id: 7, name: '' }))).toBeUndefined();
    const group = podOf({ securityContext: { runAsGroup: 9 } });
    expect(identityOf(group, containerOf(), imageOf({ id: 7, name: '' }))).toEqual({ uid: 7, gid: 9 });
    expect(() => identityOf(group, containerOf(), imageOf({ name: 'app' }))).toThrow(/by name \(app\)/);
  });

  it.each([
    [imageOf({ id: 0, name: '' }), 'container has runAsNonRoot and image will run as root (pod: "web_default(u)", container: main)'],
    [imageOf({ name: 'app' }), 'image has non-numeric user (app), cannot verify user is non-root'],
  ])('that may be root are refused to a pod that must not be (case %#)', (image, message) => {
    expect(() => identityOf(nonRoot, containerOf(), image)).toThrow(message);
  });

  it('are another number than that of root on a node without images', () => {
    expect(identityOf(nonRoot, containerOf(), undefined)).toEqual({ uid: 65_532, gid: 65_532 });
  });
});

describe('rights', () => {
  it('are the usual ones of Kubernetes, with the seccomp profile of the runtime', () => {
    expect(securityOf(podOf(), containerOf())).toEqual({
      privileged: false,
      addCapabilities: [],
      dropCapabilities: [],
      mayGainPrivileges: true,
      seccomp: { type: 'RuntimeDefault' },
      unmaskedProc: false,
    });
  });

  it.each(['../etc/shadow', '/etc/shadow', 'a/../../b', ''])('read no profile at %j', (localhostProfile) => {
    const container = containerOf({ securityContext: { seccompProfile: { type: 'Localhost', localhostProfile } } });
    expect(() => securityOf(podOf(), container)).toThrow('below the directory of profiles');
  });

  it.each([
    [{ hostPID: true }, {}, 'hostPID'],
    [{ securityContext: { sysctls: [{ name: 'net.ipv4.tcp_syncookies', value: '1' }] } }, {}, 'securityContext.sysctls'],
    [{}, { securityContext: { privileged: true } }, 'securityContext.privileged'],
    [{}, { ports: [{ containerPort: 1, hostPort: 2 }] }, 'hostPort'],
  ])('that only containers have are refused to processes, by name (case %#)', (spec, changes, field) => {
    expect(() => checkSupported(podOf(spec), containerOf(changes), false)).toThrow(`not supported on this node: ${field}`);
    expect(() => checkSupported(podOf(spec), containerOf(changes), true)).not.toThrow();
  });
});

describe('the share of a pod', () => {
  const amounts = (requests: Record<string, string>, limits: Record<string, string> = {}) =>
    containerOf({ resources: { requests, limits } });

  it('has a limit when every container has one', () => {
    const both = podOf({ containers: [amounts({ cpu: '100m' }, { memory: '8Mi' }), amounts({ cpu: '1' }, { memory: '8Mi', cpu: '2' })] });
    expect(podLinuxOf(both).resources).toEqual({ qosClass: 'Burstable', cpuRequestMilli: 1_100, memoryLimitBytes: 16 * 1024 * 1024 });
    expect(podLinuxOf(podOf()).resources).toEqual({ qosClass: 'BestEffort', cpuRequestMilli: 0 });
  });

  it('maps no port where the pod is on the network of the machine', () => {
    const ports = [{ containerPort: 80, hostPort: 8080, protocol: 'UDP' }, { containerPort: 81 }];
    expect(podLinuxOf(podOf({ containers: [containerOf({ ports })] })).ports).toEqual([
      { hostPort: 8080, hostIP: '', containerPort: 80, protocol: 'UDP' },
    ]);
    expect(podLinuxOf(podOf({ hostNetwork: true, containers: [containerOf({ ports })] })).ports).toEqual([]);
  });
});
