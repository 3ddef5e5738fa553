import type { Node } from '../../src/api/core/v1/node.ts';
import type { Pod } from '../../src/api/core/v1/pod.ts';
import { nodeOf, ownedBy, podOf } from './cluster-objects.ts';
import { createRandom } from './random.ts';

/** Labels of the namespaces that pods are drawn in. */
export const drawnNamespaces = { shop: { team: 'a' }, other: { team: 'b' } };
/** Selectors of the Services, by namespace. */
export const drawnServices = { shop: [{ app: 'a' }], other: [{ app: 'b', rev: '1' }] };
const zone = 'topology.kubernetes.io/zone';
const hostname = 'kubernetes.io/hostname';

/** Choices from a seed: the same for the same one. */
export function createDraw(seed: number) {
  const random = createRandom(seed);
  const below = (count: number) => Math.floor(random() * count);
  const chance = (share: number) => random() < share;
  const of = <T>(...choices: readonly T[]): T => choices[below(choices.length)] as T;
  const some = <T>(share: number, make: () => T): T[] => (chance(share) ? [make()] : []);
  return { random, below, chance, of, some };
}
export type Draw = ReturnType<typeof createDraw>;

/** A node that differs from others in size, labels, taints and images. */
export function drawNode({ below, chance, of, some }: Draw, name: string): Node {
  const node = nodeOf(name, {
    labels: { ...(chance(0.85) ? { [zone]: of('x', 'y', 'z') } : {}), ...(chance(0.4) ? { disk: of('ssd', 'hdd') } : {}) },
    allocatable: { cpu: `${of(1_000, 2_000, 4_000)}m`, memory: `${of(1_024, 2_048, 4_096)}Mi`, pods: String(3 + below(8)) },
    spec: {
      ...(chance(0.06) ? { unschedulable: true } : {}),
      taints: [
        ...some(0.12, () => ({ key: 'dedicated', value: 'db', effect: 'NoSchedule' as const })),
        ...some(0.2, () => ({ key: 'old', effect: 'PreferNoSchedule' as const })),
      ],
    },
  });
  const images = ['app:1', 'db:2'].flatMap((image) =>
    chance(0.4) ? [{ names: [image], sizeBytes: (100 + below(900)) * 1024 * 1024 }] : [],
  );
  return { ...node, status: { ...node.status, images } } as Node;
}

function drawTerm({ chance, of }: Draw) {
  return {
    topologyKey: of(zone, hostname, 'disk'),
    labelSelector: chance(0.8)
      ? { matchLabels: { app: of('a', 'b') } }
      : { matchExpressions: [{ key: 'app', operator: of('In', 'NotIn', 'Exists'), values: ['a'] }].map(withoutValues) },
    ...(chance(0.2) ? { namespaces: ['other'] } : {}),
    ...(chance(0.2) ? { namespaceSelector: of({}, { matchLabels: { team: 'b' } }) } : {}),
    ...(chance(0.2) ? { matchLabelKeys: ['rev'] } : {}),
    ...(chance(0.15) ? { mismatchLabelKeys: ['tenant'] } : {}),
  };
}

const withoutValues = ({ values, ...rest }: { key: string; operator: string; values: string[] }) =>
  rest.operator === 'Exists' ? rest : { ...rest, values };

function drawConstraint({ chance, of }: Draw) {
  const whenUnsatisfiable = of('DoNotSchedule', 'ScheduleAnyway');
  return {
    topologyKey: of(zone, hostname, 'disk'),
    maxSkew: of(1, 2),
    whenUnsatisfiable,
    ...(chance(0.9) ? { labelSelector: { matchLabels: { app: of('a', 'b') } } } : {}),
    ...(chance(0.2) && whenUnsatisfiable === 'DoNotSchedule' ? { minDomains: of(2, 4) } : {}),
    ...(chance(0.2) ? { nodeAffinityPolicy: 'Ignore' } : {}),
    ...(chance(0.3) ? { nodeTaintsPolicy: 'Honor' } : {}),
    ...(chance(0.2) ? { matchLabelKeys: ['rev'] } : {}),
  };
}

/** A pod that may have every kind of rule about nodes and other pods. */
export function drawPod(draw: Draw, name: string): Pod {
  const { below, chance, of, some } = draw;
  const weighted = () => ({ weight: 1 + below(100), podAffinityTerm: drawTerm(draw) });
  const kindOfTerms = () => ({
    requiredDuringSchedulingIgnoredDuringExecution: some(0.35, () => drawTerm(draw)),
    preferredDuringSchedulingIgnoredDuringExecution: [...some(0.4, weighted), ...some(0.2, weighted)],
  });
  const onDisk = () => ({ matchExpressions: [{ key: 'disk', operator: of('In', 'NotIn'), values: ['ssd'] }] });
  const affinity = {
    ...(chance(0.35) ? { podAffinity: kindOfTerms() } : {}),
    ...(chance(0.35) ? { podAntiAffinity: kindOfTerms() } : {}),
    ...(chance(0.3)
      ? {
          nodeAffinity: {
            ...(chance(0.4) ? { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [onDisk()] } } : {}),
            preferredDuringSchedulingIgnoredDuringExecution: some(0.7, () => ({ weight: 1 + below(100), preference: onDisk() })),
          },
        }
      : {}),
  };
  const labels = {
    ...(chance(0.9) ? { app: of('a', 'b') } : {}),
    ...(chance(0.6) ? { rev: of('1', '2') } : {}),
    ...(chance(0.4) ? { tenant: of('t', 'u') } : {}),
  };
  const requests = {
    ...(chance(0.7) ? { cpu: `${100 * (1 + below(12))}m` } : {}),
    ...(chance(0.7) ? { memory: `${64 * (1 + below(16))}Mi` } : {}),
  };
  const spec = {
    containers: [
      {
        name: 'main',
        image: of('app:1', 'db:2', 'none:3'),
        resources: { requests },
        ...(chance(0.1) ? { ports: [{ containerPort: 80, hostPort: of(80, 81) }] } : {}),
      },
    ],
    ...(chance(0.1) ? { nodeSelector: { disk: 'ssd' } } : {}),
    tolerations: some(0.25, () => ({ operator: 'Exists', ...(chance(0.5) ? { key: of('dedicated', 'old') } : {}) })),
    topologySpreadConstraints: [...some(0.3, () => drawConstraint(draw)), ...some(0.15, () => drawConstraint(draw))],
    affinity,
  } as unknown as Pod['spec'];
  const unique = spec.topologySpreadConstraints?.filter(
    (one, index, all) =>
      all.findIndex((other) => other.topologyKey === one.topologyKey && other.whenUnsatisfiable === one.whenUnsatisfiable) === index,
  );
  // Replicas of one owner have one template, as a ReplicaSet makes them.
  return podOf(
    name,
    { ...spec, topologySpreadConstraints: unique ?? [] },
    {
      namespace: chance(0.8) ? 'shop' : 'other',
      labels,
      ...(chance(0.3) ? ownedBy(of('rs-1', 'rs-2')) : {}),
    },
  );
}
