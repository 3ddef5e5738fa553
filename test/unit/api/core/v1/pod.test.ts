import { describe, expect, it } from 'vitest';
import { deployments } from '../../../../../src/api/apps/v1/deployment.ts';
import { type ContainerStatus, type Pod, type PodSpec, type PodStatus, pods } from '../../../../../src/api/core/v1/pod.ts';
import { deepFreeze } from '../../../../../src/machinery/object.ts';
import { writeContext } from '../../../../support/write-context.ts';

const spec: PodSpec = { containers: [{ name: 'c', image: 'host/web:1' }] };

function pod(parts: { readonly spec?: PodSpec; readonly status?: PodStatus; readonly deleting?: boolean } = {}): Pod {
  const object = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'd', ...(parts.deleting ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}) },
    spec: parts.spec ?? spec,
    ...(parts.status === undefined ? {} : { status: parts.status }),
  };
  return pods.defaults?.(object) ?? object;
}

const now = Date.parse('2026-01-01T01:00:00Z');
const cell = (object: Pod, name: string) => pods.columns.find((column) => column.name === name)?.cell(object, { now });
const container = (state: ContainerStatus['state'], more: Partial<ContainerStatus> = {}): ContainerStatus => ({
  name: 'c',
  image: 'host/web:1',
  imageID: '',
  ready: false,
  restartCount: 0,
  ...(state === undefined ? {} : { state }),
  ...more,
});
const running = { running: { startedAt: '2026-01-01T00:00:00Z' } };
const completed = { terminated: { exitCode: 0, reason: 'Completed' } };

describe('defaults of a pod', () => {
  it('pull the image always when its tag moves', () => {
    const policyOf = (image: string) => pod({ spec: { containers: [{ name: 'c', image }] } }).spec.containers[0]?.imagePullPolicy;
    expect(policyOf('web')).toBe('Always');
    expect(policyOf('registry:5000/web')).toBe('Always');
    expect(policyOf('web:latest')).toBe('Always');
    expect(policyOf('web:1')).toBe('IfNotPresent');
    expect(policyOf('web@sha256:0')).toBe('IfNotPresent');
  });

  it('ask for what a container is limited to', () => {
    const resources = { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '500m' } };
    const [first] = pod({ spec: { containers: [{ name: 'c', image: 'x:1', resources }] } }).spec.containers;
    expect(first?.resources?.requests).toEqual({ cpu: '500m', memory: '1Gi' });
  });

  it('complete probes, volumes and references to fields', () => {
    const object = pod({
      spec: {
        containers: [
          {
            name: 'c',
            image: 'x:1',
            env: [{ name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }],
            readinessProbe: { httpGet: { port: 80 } },
          },
        ],
        volumes: [{ name: 'a' }, { name: 'b', configMap: { name: 'x' } }],
      },
    });
    expect(object.spec.containers[0]?.env?.[0]?.valueFrom?.fieldRef?.apiVersion).toBe('v1');
    expect(object.spec.containers[0]?.readinessProbe).toEqual({
      httpGet: { port: 80, path: '/', scheme: 'HTTP' },
      timeoutSeconds: 1,
      periodSeconds: 10,
      successThreshold: 1,
      failureThreshold: 3,
    });
    expect(object.spec.volumes).toEqual([
      { name: 'a', emptyDir: {} },
      { name: 'b', configMap: { name: 'x', defaultMode: 420 } },
    ]);
  });

  it('let the pods of one frozen template share one spec', () => {
    const deployment = deepFreeze(
      deployments.defaults?.({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'd' },
        spec: { selector: { matchLabels: { a: 'b' } }, template: { metadata: { labels: { a: 'b' } }, spec } },
      }),
    );
    const template = deployment?.spec.template.spec ?? spec;
    expect(pod({ spec: template }).spec).toBe(pod({ spec: template }).spec);
  });
});

describe('quality of service', () => {
  const classOf = (resources: object) =>
    pods.prepareForCreate?.(pod({ spec: { containers: [{ name: 'c', image: 'x:1', resources }] } }), writeContext).status?.qosClass;
  it('is guaranteed for requests that are the limits', () => {
    expect(classOf({ limits: { cpu: '1', memory: '1Gi' } })).toBe('Guaranteed');
    expect(classOf({ limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '1000m', memory: '1024Mi' } })).toBe('Guaranteed');
  });
  it('is burstable for any request else, best effort for none', () => {
    expect(classOf({ limits: { cpu: '1' } })).toBe('Burstable');
    expect(classOf({ requests: { memory: '1Mi' } })).toBe('Burstable');
    expect(classOf({ requests: { cpu: '0' } })).toBe('BestEffort');
    expect(classOf({})).toBe('BestEffort');
  });
});

describe('the row of a pod', () => {
  const row = (object: Pod) => [cell(object, 'Ready'), cell(object, 'Status'), cell(object, 'Restarts')];

  it('says Running with ready containers', () => {
    const status = { phase: 'Running', containerStatuses: [container(running, { ready: true })] };
    expect(row(pod({ status }))).toEqual(['1/1', 'Running', '0']);
  });

  it('says why a container waits, and when it was restarted last', () => {
    const lastState = { terminated: { exitCode: 1, finishedAt: '2026-01-01T00:58:00Z' } };
    const status = {
      phase: 'Running',
      containerStatuses: [container({ waiting: { reason: 'CrashLoopBackOff' } }, { restartCount: 5, lastState })],
    };
    expect(row(pod({ status }))).toEqual(['0/1', 'CrashLoopBackOff', '5 (2m ago)']);
  });

  it('says how a container ended', () => {
    const ended = (terminated: object) =>
      row(pod({ status: { phase: 'Failed', containerStatuses: [container({ terminated } as never)] } }))[1];
    expect(ended({ exitCode: 3 })).toBe('ExitCode:3');
    expect(ended({ exitCode: 137, signal: 9 })).toBe('Signal:9');
    expect(ended({ exitCode: 1, reason: 'Error' })).toBe('Error');
  });

  it('says how far initialization is', () => {
    const two: PodSpec = {
      ...spec,
      initContainers: [
        { name: 'i', image: 'x:1' },
        { name: 'j', image: 'x:1' },
      ],
    };
    const at = (second: ContainerStatus['state']) =>
      row(
        pod({
          spec: two,
          status: { phase: 'Pending', initContainerStatuses: [container(completed, { name: 'i' }), container(second, { name: 'j' })] },
        }),
      )[1];
    expect(at(running)).toBe('Init:1/2');
    expect(at({ waiting: { reason: 'PodInitializing' } })).toBe('Init:1/2');
    expect(at({ waiting: { reason: 'ErrImagePull' } })).toBe('Init:ErrImagePull');
    expect(at({ terminated: { exitCode: 2 } })).toBe('Init:ExitCode:2');
    expect(at({ terminated: { exitCode: 1, reason: 'Error' } })).toBe('Init:Error');
  });

  it('counts sidecars as containers', () => {
    const sidecar: PodSpec = { ...spec, initContainers: [{ name: 's', image: 'x:1', restartPolicy: 'Always' }] };
    const status = {
      phase: 'Running',
      initContainerStatuses: [container(running, { name: 's', ready: true, started: true, restartCount: 2 })],
      containerStatuses: [container(running, { ready: true, restartCount: 1 })],
    };
    expect(row(pod({ spec: sidecar, status }))).toEqual(['2/2', 'Running', '3']);
  });

  it('goes on running while one container is done and another is not', () => {
    const containerStatuses = [container(completed), container(running, { name: 'd', ready: true })];
    const conditions = [{ type: 'Ready', status: 'True' }];
    expect(row(pod({ status: { phase: 'Running', containerStatuses } }))[1]).toBe('NotReady');
    expect(row(pod({ status: { phase: 'Running', containerStatuses, conditions } }))[1]).toBe('Running');
  });

  it('says Terminating for what is being deleted, unless it is done or its node is lost', () => {
    expect(row(pod({ deleting: true, status: { phase: 'Running' } }))[1]).toBe('Terminating');
    expect(row(pod({ deleting: true, status: { phase: 'Succeeded' } }))[1]).toBe('Succeeded');
    expect(row(pod({ deleting: true, status: { phase: 'Running', reason: 'NodeLost' } }))[1]).toBe('Unknown');
  });

  it('prefers the reason of the pod to its phase', () => {
    expect(row(pod({ status: { phase: 'Failed', reason: 'Evicted' } }))[1]).toBe('Evicted');
  });

  it('is marked as completed when the pod is over', () => {
    expect(pods.rowConditions?.(pod({ status: { phase: 'Succeeded' } }))).toEqual([
      { type: 'Completed', status: 'True', reason: 'Succeeded', message: 'The pod has completed successfully.' },
    ]);
    expect(pods.rowConditions?.(pod({ status: { phase: 'Running' } }))).toEqual([]);
  });
});

describe('an update of a pod', () => {
  const stored = deepFreeze(pod({ spec: { ...spec, activeDeadlineSeconds: 60, tolerations: [{ key: 'a', operator: 'Exists' }] } }));
  const update = (change: Partial<PodSpec>) => pods.validate?.({ ...stored, spec: { ...stored.spec, ...change } }, stored) ?? [];

  it('may change images, shorten the deadline and add tolerations', () => {
    const [first] = stored.spec.containers;
    expect(update({ containers: [{ ...first, name: 'c', image: 'host/web:2' }] })).toEqual([]);
    expect(update({ activeDeadlineSeconds: 30 })).toEqual([]);
    expect(update({ tolerations: [...(stored.spec.tolerations ?? []), { key: 'b', operator: 'Exists' }] })).toEqual([]);
  });

  it('may change nothing else, and says what was tried', () => {
    const [error] = update({ nodeSelector: { a: 'b' }, terminationGracePeriodSeconds: 5 });
    expect(error?.field).toBe('spec');
    expect(error?.message).toMatch(/^Forbidden: pod updates may not change fields other than `spec\.containers\[\*\]\.image`/);
    expect(error?.message).toContain('\n- "TerminationGracePeriodSeconds": 30,\n+ "TerminationGracePeriodSeconds": 5,\n');
    expect(update({ activeDeadlineSeconds: 90 }).map(({ field }) => field)).toEqual(['spec.activeDeadlineSeconds']);
    expect(update({ tolerations: [] }).map(({ field }) => field)).toEqual(['spec.tolerations']);
    const [first] = stored.spec.containers;
    expect(update({ containers: [{ ...first, name: 'c', image: 'x', command: ['sh'] }] }).map(({ field }) => field)).toEqual(['spec']);
    expect(update({ containers: [] }).map(({ field }) => field)).toContain('spec.containers');
  });
});

describe('deletion of a pod', () => {
  const assigned = { ...spec, nodeName: 'n' };
  it('waits for the agent of its node, as long as asked', () => {
    expect(pods.gracefulDeletion?.(pod({ spec: assigned }), undefined)).toBe(30);
    expect(pods.gracefulDeletion?.(pod({ spec: assigned }), 5)).toBe(5);
    expect(pods.gracefulDeletion?.(pod({ spec: assigned }), 0)).toBe(0);
    expect(pods.gracefulDeletion?.(pod({ spec: assigned }), -1)).toBe(1);
  });
  it('waits for nobody when no node has it or it is done', () => {
    expect(pods.gracefulDeletion?.(pod(), 5)).toBe(0);
    expect(pods.gracefulDeletion?.(pod({ spec: assigned, status: { phase: 'Failed' } }), 5)).toBe(0);
  });
});

describe('hostile pods', () => {
  it.each(['../x', '/etc', 'a/../../b'])('cannot project a file to %s', (path) => {
    const volumes = [{ name: 'v', configMap: { name: 'c', items: [{ key: 'k', path }] } }];
    expect(pods.validate?.(pod({ spec: { ...spec, volumes } })).map(({ field }) => field)).toContain(
      'spec.volumes[0].configMap.items[0].path',
    );
  });

  it('cannot climb out of a volume by a sub-path', () => {
    const containers = [{ name: 'c', image: 'x:1', volumeMounts: [{ name: 'v', mountPath: '/v', subPath: 'a/../../b' }] }];
    const errors = pods.validate?.(pod({ spec: { containers, volumes: [{ name: 'v' }] } }));
    expect(errors).toEqual([
      {
        type: 'FieldValueInvalid',
        field: 'spec.containers[0].volumeMounts.subPath',
        message: `Invalid value: "a/../../b": must not contain '..'`,
      },
    ]);
  });
});

describe('rules of a pod', () => {
  const broken = (spec: object): readonly string[] =>
    (pods.validate?.(pod({ spec: { containers: [{ name: 'c', image: 'x:1' }], ...spec } as PodSpec })) ?? []).map(
      ({ field, message }) => `${field}: ${message}`,
    );

  it('keep host namespaces, users and operating systems apart', () => {
    expect(broken({ hostUsers: false, hostNetwork: true })).toEqual(['spec.hostNetwork: Forbidden: when `hostUsers` is false']);
    expect(broken({ hostPID: true, shareProcessNamespace: true, securityContext: {} })).toEqual([
      'spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled',
    ]);
    expect(broken({ os: { name: 'windows' }, hostPID: true, securityContext: { fsGroup: 1 } })).toEqual([
      'spec.hostPID: Forbidden: cannot be set for a windows pod',
      'spec.securityContext.fsGroup: Forbidden: cannot be set for a windows pod',
    ]);
    expect(broken({ os: { name: 'plan9' } })).toEqual(['spec.os: Unsupported value: "plan9": supported values: "linux", "windows"']);
  });

  it('ask for profiles that are complete', () => {
    const context = { seccompProfile: { type: 'Localhost' }, appArmorProfile: { type: 'Unconfined', localhostProfile: 'x' } };
    expect(broken({ securityContext: context })).toEqual([
      'spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost',
      'spec.securityContext.appArmorProfile.localhostProfile: Invalid value: "x": can only be set when AppArmor type is Localhost',
    ]);
  });

  it('name each gate once, and no node before they are gone', () => {
    expect(broken({ nodeName: 'n', schedulingGates: [{ name: 'a' }, { name: 'a' }] })).toEqual([
      'spec.schedulingGates[1]: Duplicate value: "a"',
      'spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared',
    ]);
  });

  it('let a gated pod be narrowed in where it goes, and in nothing else', () => {
    const gated = deepFreeze(pod({ spec: { ...spec, schedulingGates: [{ name: 'g' }], nodeSelector: { a: '1' } } }));
    const changed = (parts: Partial<PodSpec>) => pods.validate?.({ ...gated, spec: { ...gated.spec, ...parts } }, gated) ?? [];
    expect(changed({ nodeSelector: { a: '1', b: '2' } })).toEqual([]);
    expect(changed({ nodeSelector: { b: '2' } }).map(({ message }) => message)).toEqual([
      'Invalid value: {"b":"2"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)',
    ]);
    const requirement = { key: 'k', operator: 'Exists' };
    const nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [requirement] }] } };
    expect(changed({ affinity: { nodeAffinity } })).toEqual([]);
    expect(changed({ hostNetwork: true }).map(({ field }) => field)).toEqual(['spec']);
  });

  it('tell of mounts, devices and resizing what is wrong with them', () => {
    const container = {
      name: 'c',
      image: 'x:1',
      volumeMounts: [{ name: 'v', mountPath: '/v', mountPropagation: 'Bidirectional', recursiveReadOnly: 'Enabled' }],
      resizePolicy: [{ resourceName: 'gpu', restartPolicy: 'NotRequired' }],
      lifecycle: { preStop: { sleep: { seconds: 60 } } },
    };
    expect(broken({ containers: [container], volumes: [{ name: 'v', emptyDir: {} }] })).toEqual([
      'spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers',
      'spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true',
      'spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified',
      'spec.containers[0].resizePolicy: Unsupported value: "gpu": supported values: "cpu", "memory"',
      'spec.containers[0].lifecycle.preStop.sleep: Invalid value: 60: must be non-negative and less than terminationGracePeriodSeconds (30)',
    ]);
  });
});
