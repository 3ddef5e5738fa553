import { describe, expect, it } from 'vitest';
import { type Pod, type PodSpec, pods } from '../../../../../src/api/core/v1/pod.ts';
import { ephemeralContainersPart, resizePart } from '../../../../../src/api/core/v1/pod-parts.ts';
import { deepFreeze } from '../../../../../src/machinery/object.ts';

const complete = (spec: Partial<PodSpec>, status?: Pod['status']): Pod => {
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'shop' },
    spec: { containers: [{ name: 'main', image: 'a' }], ...spec },
    ...(status === undefined ? {} : { status }),
  };
  return deepFreeze(pods.defaults?.(pod) ?? pod);
};
const messages = (part: typeof resizePart, before: Pod, wanted: Pod): readonly string[] => {
  const taken = part.take(before, wanted);
  return part.validate(pods.defaults?.(taken, before) ?? taken, before).map(({ field, message }) => `${field}: ${message}`);
};

describe('ephemeral containers', () => {
  const guest = { name: 'debug', image: 'b', targetContainerName: 'main' };
  const plain = complete({});
  const joined = complete({ ephemeralContainers: [guest] });

  it('join a pod, and nothing else of it changes', () => {
    const wanted: Pod = { ...plain, spec: { ...plain.spec, hostname: 'other', ephemeralContainers: [guest] } };
    const taken = ephemeralContainersPart.take(plain, wanted);
    expect(taken.spec).toEqual({ ...plain.spec, ephemeralContainers: [guest] });
    expect(pods.defaults?.(taken, plain).spec.ephemeralContainers).toEqual([
      {
        ...guest,
        resources: {},
        terminationMessagePath: '/dev/termination-log',
        terminationMessagePolicy: 'File',
        imagePullPolicy: 'Always',
      },
    ]);
    expect(messages(ephemeralContainersPart, plain, wanted)).toEqual([]);
    expect(messages(ephemeralContainersPart, joined, complete({ ephemeralContainers: [guest, { name: 'more', image: 'b' }] }))).toEqual([]);
  });

  it('stay, and stay as they are', () => {
    expect(messages(ephemeralContainersPart, joined, plain)).toEqual([
      'spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be removed\n',
    ]);
    const [changed = ''] = messages(ephemeralContainersPart, joined, complete({ ephemeralContainers: [{ ...guest, image: 'c' }] }));
    expect(changed).toMatch(/^spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be changed\n@@/);
    expect(changed).toMatch(/\n- "Image": "[^"]+",\n\+ "Image": "c",\n/);
  });

  it('have names of their own and none of what keeps containers running', () => {
    const odd = complete({
      ephemeralContainers: [
        { name: 'main', image: 'b' },
        { name: '', image: 'b' },
        { name: 'x', image: 'b', targetContainerName: 'nope', ports: [{ containerPort: 1 }], resources: { limits: { cpu: '1' } } },
      ] as NonNullable<PodSpec['ephemeralContainers']>,
    });
    expect(messages(ephemeralContainersPart, plain, odd)).toEqual([
      'spec.ephemeralContainers[0].name: Duplicate value: "main"',
      'spec.ephemeralContainers[1].name: Required value',
      'spec.ephemeralContainers[2].targetContainerName: Not found: "nope"',
      'spec.ephemeralContainers[2].ports: Forbidden: cannot be set for an Ephemeral Container',
      'spec.ephemeralContainers[2].resources: Forbidden: cannot be set for an Ephemeral Container',
    ]);
  });
});

describe('resize', () => {
  type Resources = NonNullable<PodSpec['containers'][number]['resources']>;
  const sized = (resources: Resources, status?: Pod['status']): Pod =>
    complete({ containers: [{ name: 'main', image: 'a', resources }] }, { qosClass: 'Burstable', ...status });
  const small = sized({ requests: { cpu: '100m', memory: '64Mi' }, limits: { cpu: '200m' } });

  it('takes CPU and memory of containers it knows, and nothing else', () => {
    const wanted: Pod = {
      ...small,
      spec: {
        ...small.spec,
        hostname: 'other',
        containers: [{ name: 'main', image: 'z', resources: { requests: { cpu: '150m', memory: '64Mi' }, limits: { cpu: '300m' } } }],
      },
    };
    const { spec } = resizePart.take(small, wanted);
    expect(spec.hostname).toBeUndefined();
    expect(spec.containers).toHaveLength(1);
    expect(spec.containers[0]).toMatchObject({ image: 'a', resources: { requests: { cpu: '150m' }, limits: { cpu: '300m' } } });
    expect(messages(resizePart, small, wanted)).toEqual([]);
  });

  it('refuses containers that the pod does not have, and another policy of resizing', () => {
    const [main] = small.spec.containers;
    const wanted = (containers: readonly object[]): Pod => ({ ...small, spec: { ...small.spec, containers } }) as Pod;
    expect(messages(resizePart, small, wanted([{ name: 'zz' }, main ?? {}]))).toEqual([
      'spec.containers[0].image: Required value',
      'spec.containers: Forbidden: containers may not be added or removed on resize',
    ]);
    const resizePolicy = [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }];
    expect(messages(resizePart, small, wanted([{ ...main, resizePolicy }]))).toEqual([
      'spec: Forbidden: only cpu and memory resources are mutable',
    ]);
  });

  it('keeps the class of service, and what is limited stays limited', () => {
    expect(messages(resizePart, small, sized({ limits: { cpu: '200m', memory: '1Gi' } }))).toEqual([
      'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing',
    ]);
    expect(messages(resizePart, small, sized({ requests: { cpu: '100m' } }))).toEqual([
      'spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed',
      'spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed',
    ]);
    const more = { requests: { cpu: '100m', memory: '64Mi', 'ephemeral-storage': '1Gi' }, limits: { cpu: '200m' } };
    expect(messages(resizePart, small, sized(more))).toEqual(['spec: Forbidden: only cpu and memory resources are mutable']);
  });

  it('is refused where the node does not tell what containers have', () => {
    const running = { name: 'main', image: 'a', imageID: '', ready: true, restartCount: 0, state: { running: {} } };
    const deaf = sized({ requests: { cpu: '1' } }, { containerStatuses: [running] });
    expect(messages(resizePart, deaf, sized({ requests: { cpu: '2' } }))).toEqual([
      'spec: Forbidden: Pod running on node without support for resize',
    ]);
    const telling = sized({ requests: { cpu: '1' } }, { containerStatuses: [{ ...running, resources: {} }] as never });
    expect(messages(resizePart, telling, sized({ requests: { cpu: '2' } }))).toEqual([]);
  });
});
