import { type Pod, type PodSpec, pods } from '../../api/core/v1/pod.ts';
import { type RuntimeClass, runtimeClasses } from '../../api/node/v1/runtime-class.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { deepEqual, deepFreeze } from '../../machinery/object.ts';
import { forbidden, type StatusError } from '../../machinery/status-error.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionStep, Operation } from './admission.ts';

const createsPod = ({ group, resource }: KindDefinition, operation: Operation): boolean =>
  group === pods.group && resource === pods.resource && operation === 'create';

const rejected = (name: string, why: string): StatusError => forbidden(pods, name, `pod rejected: ${why}`);

/**
 * A pod that names a RuntimeClass gets what the class costs and where it can run.
 *
 * @throws StatusError `Forbidden` for a class that is not there, and for what contradicts it
 */
export function runtimeClass(registry: Pick<Registry, 'get'>): AdmissionStep {
  // Frozen classes and specs: the pods of one template share what they get.
  const known = new WeakMap<RuntimeClass, WeakMap<PodSpec, PodSpec>>();

  function filled(found: RuntimeClass, { spec }: Pod, name: string): PodSpec {
    let bySpec = known.get(found);
    if (bySpec === undefined) {
      bySpec = new WeakMap();
      known.set(found, bySpec);
    }
    let next = bySpec.get(spec);
    if (next === undefined) {
      next = withScheduling(withOverhead(spec, found, name), found, name);
      if (Object.isFrozen(spec)) bySpec.set(spec, deepFreeze(next));
    }
    return next;
  }

  return {
    name: 'RuntimeClass',
    appliesTo: createsPod,
    admit({ object, name }) {
      const pod = object as Pod;
      const className = pod.spec.runtimeClassName ?? '';
      if (className === '') return pod;
      const found = registry.get(runtimeClasses, className) as RuntimeClass | undefined;
      if (found === undefined) throw rejected(name, `RuntimeClass ${JSON.stringify(className)} not found`);
      const spec = filled(found, pod, name);
      return spec === pod.spec ? pod : { ...pod, spec };
    },
  };
}

/** The overhead of a pod must equal that of its class. */
export function runtimeClassOverhead(registry: Pick<Registry, 'get'>): AdmissionStep {
  return {
    name: 'RuntimeClass',
    phase: 'validating',
    appliesTo: createsPod,
    admit({ object, name }) {
      const { overhead = {}, runtimeClassName = '' } = (object as Pod).spec;
      if (runtimeClassName === '' && Object.keys(overhead).length === 0) return object;
      const found = runtimeClassName === '' ? undefined : (registry.get(runtimeClasses, runtimeClassName) as RuntimeClass | undefined);
      const fixed = found?.overhead?.podFixed;
      if (found?.overhead !== undefined && !deepEqual(fixed ?? {}, overhead)) throw mismatch(name);
      if (found?.overhead === undefined && Object.keys(overhead).length > 0) {
        throw rejected(name, 'Pod Overhead set without corresponding RuntimeClass defined Overhead');
      }
      return object;
    },
  };
}

const mismatch = (name: string): StatusError => rejected(name, "Pod's Overhead doesn't match RuntimeClass's defined Overhead");

function withOverhead(spec: PodSpec, { overhead }: RuntimeClass, name: string): PodSpec {
  if (overhead?.podFixed === undefined) return spec;
  if (spec.overhead !== undefined && !deepEqual(spec.overhead, overhead.podFixed)) throw mismatch(name);
  return { ...spec, overhead: overhead.podFixed };
}

function withScheduling(spec: PodSpec, { scheduling }: RuntimeClass, name: string): PodSpec {
  const { nodeSelector, tolerations = [] } = scheduling ?? {};
  let next = spec;
  if (nodeSelector !== undefined) {
    for (const [key, value] of Object.entries(nodeSelector)) {
      const given = spec.nodeSelector?.[key];
      if (given === undefined || given === value) continue;
      throw forbidden(
        pods,
        name,
        `conflict: runtimeClass.scheduling.nodeSelector[${key}] = ${value}; pod.spec.nodeSelector[${key}] = ${given}`,
      );
    }
    next = { ...next, nodeSelector: { ...spec.nodeSelector, ...nodeSelector } };
  }
  const given = spec.tolerations ?? [];
  const missing = tolerations.filter((toleration) => !given.some((other) => deepEqual(other, toleration)));
  return missing.length === 0 ? next : { ...next, tolerations: [...given, ...missing] };
}
