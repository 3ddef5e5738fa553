import type { Affinity } from '../../api/core/v1/pod.ts';
import { type DefaultPreemptionArgs, defaultPreemptionDefaults } from '../plugins/default-preemption.ts';
import { type InterPodAffinityArgs, interPodAffinityDefaults } from '../plugins/inter-pod-affinity.ts';
import type { BalancedAllocationArgs } from '../plugins/node-resources-balanced-allocation.ts';
import type { NodeResourcesFitArgs } from '../plugins/node-resources-fit.ts';
import { type PodTopologySpreadArgs, podTopologySpreadDefaults } from '../plugins/pod-topology-spread.ts';
import { defaultResources, type ResourceStrategy, type WeighedResource } from '../resource-scores.ts';
import type { Field } from './fields.ts';

/** Fields of every args object, which say what it is. */
const head = ['apiVersion', 'kind'] as const;

/** Reads the `args` of each plugin that takes some: upstream's names, ranges and defaults. */
export const argumentReaders: Readonly<Record<string, (args: Field) => unknown>> = {
  DefaultPreemption(args): DefaultPreemptionArgs {
    const { minCandidateNodesPercentage, minCandidateNodesAbsolute } = args.object([
      ...head,
      'minCandidateNodesPercentage',
      'minCandidateNodesAbsolute',
    ]);
    const found = {
      minCandidateNodesPercentage: minCandidateNodesPercentage.integer({
        least: 0,
        most: 100,
        otherwise: defaultPreemptionDefaults.minCandidateNodesPercentage,
      }),
      minCandidateNodesAbsolute: minCandidateNodesAbsolute.integer({
        least: 0,
        most: 1_000_000,
        otherwise: defaultPreemptionDefaults.minCandidateNodesAbsolute,
      }),
    };
    if (found.minCandidateNodesPercentage + found.minCandidateNodesAbsolute === 0) {
      args.fail('tries no node', 'Set minCandidateNodesPercentage or minCandidateNodesAbsolute above 0.');
    }
    return found;
  },
  InterPodAffinity(args): InterPodAffinityArgs {
    const { hardPodAffinityWeight, ignorePreferredTermsOfExistingPods } = args.object([
      ...head,
      'hardPodAffinityWeight',
      'ignorePreferredTermsOfExistingPods',
    ]);
    return {
      hardPodAffinityWeight: hardPodAffinityWeight.integer({
        least: 0,
        most: 100,
        otherwise: interPodAffinityDefaults.hardPodAffinityWeight,
      }),
      ignorePreferredTermsOfExistingPods: ignorePreferredTermsOfExistingPods.flag(
        interPodAffinityDefaults.ignorePreferredTermsOfExistingPods,
      ),
    };
  },
  NodeAffinity: readNodeAffinity,
  NodeResourcesBalancedAllocation(args): BalancedAllocationArgs {
    return { resources: readResources(args.object([...head, 'resources']).resources) };
  },
  NodeResourcesFit(args): NodeResourcesFitArgs {
    const fields = args.object([...head, 'ignoredResources', 'ignoredResourceGroups', 'scoringStrategy']);
    return {
      ignoredResources: new Set(fields.ignoredResources.list().map((one) => one.text())),
      ignoredResourceGroups: new Set(fields.ignoredResourceGroups.list().map((one) => one.text())),
      strategy: readStrategy(fields.scoringStrategy),
    };
  },
  PodTopologySpread: readSpread,
};

/** A selector that says nothing would be ignored in silence, so its parts are checked. */
function readNodeAffinity(args: Field): { readonly addedAffinity?: NonNullable<Affinity['nodeAffinity']> } {
  const { addedAffinity } = args.object([...head, 'addedAffinity']);
  if (addedAffinity.isAbsent) return {};
  const parts = addedAffinity.object(['requiredDuringSchedulingIgnoredDuringExecution', 'preferredDuringSchedulingIgnoredDuringExecution']);
  const required = parts.requiredDuringSchedulingIgnoredDuringExecution;
  if (!required.isAbsent) required.object(['nodeSelectorTerms']).nodeSelectorTerms.list().forEach(checkNodeTerm);
  for (const item of parts.preferredDuringSchedulingIgnoredDuringExecution.list()) {
    const { weight, preference } = item.object(['weight', 'preference']);
    weight.integer({ least: 1, most: 100 });
    checkNodeTerm(preference);
  }
  return { addedAffinity: addedAffinity.value as NonNullable<Affinity['nodeAffinity']> };
}

function checkNodeTerm(term: Field): void {
  const { matchExpressions, matchFields } = term.object(['matchExpressions', 'matchFields']);
  for (const expression of [...matchExpressions.list(), ...matchFields.list()]) {
    const { key, operator, values } = expression.object(['key', 'operator', 'values']);
    key.text();
    operator.oneOf(['In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt']);
    for (const value of values.list()) if (typeof value.value !== 'string') value.fail('is no text', 'Put it in quotation marks.');
  }
}

function readResources(resources: Field): readonly WeighedResource[] {
  if (resources.isAbsent) return defaultResources;
  return resources.list().map((resource) => {
    const { name, weight } = resource.object(['name', 'weight']);
    return { name: name.text(), weight: weight.integer({ least: 1, most: 100, otherwise: 1 }) };
  });
}

function readStrategy(strategy: Field): ResourceStrategy {
  const { type, resources, requestedToCapacityRatio } = strategy.object(['type', 'resources', 'requestedToCapacityRatio']);
  const kind = type.oneOf(['LeastAllocated', 'MostAllocated', 'RequestedToCapacityRatio'], 'LeastAllocated');
  const weighed = readResources(resources);
  if (kind !== 'RequestedToCapacityRatio') return { type: kind, resources: weighed };
  const { shape } = requestedToCapacityRatio.object(['shape']);
  const points = shape.list().map((point) => {
    const { utilization, score } = point.object(['utilization', 'score']);
    // Written from 0 to 10, counted from 0 to 100.
    return { utilization: utilization.integer({ least: 0, most: 100 }), score: score.integer({ least: 0, most: 10 }) * 10 };
  });
  if (points.length === 0) requestedToCapacityRatio.fail('has no shape', 'Give at least one point: {utilization: 0, score: 0}.');
  if (points.some(({ utilization }, index) => index > 0 && utilization <= (points[index - 1]?.utilization ?? 0))) {
    shape.fail('is not in the order of utilization', 'Sort the points by utilization, each above the one before.');
  }
  return { type: kind, resources: weighed, shape: points };
}

function readSpread(args: Field): PodTopologySpreadArgs {
  const { defaultConstraints, defaultingType } = args.object([...head, 'defaultConstraints', 'defaultingType']);
  const constraints = defaultConstraints.list();
  if (defaultingType.oneOf(['System', 'List'], 'System') === 'System') {
    if (constraints.length > 0) defaultConstraints.fail('is not read with defaultingType System', 'Write defaultingType: List.');
    return podTopologySpreadDefaults;
  }
  const read = constraints.map((constraint) => {
    const fields = constraint.object([
      'maxSkew',
      'topologyKey',
      'whenUnsatisfiable',
      'minDomains',
      'nodeAffinityPolicy',
      'nodeTaintsPolicy',
      'labelSelector',
    ]);
    if (!fields.labelSelector.isAbsent)
      fields.labelSelector.fail('is not allowed here', 'Leave it out: the owner of a pod gives the selector.');
    return {
      isHard: fields.whenUnsatisfiable.oneOf(['DoNotSchedule', 'ScheduleAnyway']) === 'DoNotSchedule',
      topologyKey: fields.topologyKey.text(),
      maxSkew: fields.maxSkew.integer({ least: 1, most: 1_000_000 }),
      minDomains: fields.minDomains.integer({ least: 1, most: 1_000_000, otherwise: 1 }),
      honorNodeAffinity: fields.nodeAffinityPolicy.oneOf(['Honor', 'Ignore'], 'Honor') === 'Honor',
      honorTaints: fields.nodeTaintsPolicy.oneOf(['Honor', 'Ignore'], 'Ignore') === 'Honor',
    };
  });
  return { hard: read.filter(({ isHard }) => isHard), soft: read.filter(({ isHard }) => !isHard), system: false };
}
