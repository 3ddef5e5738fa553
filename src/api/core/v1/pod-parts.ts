import type { SubresourcePart } from '../../../machinery/kind.ts';
import { deepEqual } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent, mapShared, withField } from '../../copy-on-write.ts';
import { duplicate, forbidden, invalidValue, notFoundValue, required } from '../../field-errors.ts';
import { check, dnsLabelErrors } from '../../formats.ts';
import { goStructDiff } from '../../go-structs.ts';
import { checkImages } from './container-validation.ts';
import type { Container, Pod, PodSpec, ResourceRequirements } from './pod.ts';
import { defaultSpecOfPod } from './pod-spec-defaults.ts';
import { checkPodSpec } from './pod-spec-validation.ts';
import { qosClassOf } from './qos.ts';

/** Parts of a pod that can be changed while it lives, each through its own subresource and under its own rules. */

type EphemeralContainer = NonNullable<PodSpec['ephemeralContainers']>[number];

// ------------------------------------------------------------------------------------------------------------ ephemeral containers

/** `pods/ephemeralcontainers`: containers that join a pod to look at it. Once there, they stay as they are. */
export const ephemeralContainersPart: SubresourcePart<Pod> = {
  take: (before, wanted) => withField(before, 'spec', withField(before.spec, 'ephemeralContainers', wanted.spec.ephemeralContainers)),
  validate(pod, before) {
    const errors: FieldError[] = [];
    const containers = pod.spec.ephemeralContainers ?? [];
    checkEphemeralContainers(errors, containers, pod.spec);
    for (const old of before.spec.ephemeralContainers ?? []) {
      const same = containers.find(({ name }) => name === old.name);
      const what = `existing ephemeral containers ${JSON.stringify(old.name)} may not be`;
      if (same === undefined) errors.push(forbidden('spec.ephemeralContainers', `${what} removed\n`));
      else if (!deepEqual(same, old))
        errors.push(forbidden('spec.ephemeralContainers', `${what} changed\n${goStructDiff('core/v1.EphemeralContainer', old, same)}`));
    }
    return errors;
  },
};

/** Fields that have no meaning for an ephemeral container, since nothing waits for it or restarts it. */
const foreignFields = ['ports', 'resources', 'livenessProbe', 'readinessProbe', 'startupProbe', 'lifecycle', 'resizePolicy'] as const;

function checkEphemeralContainers(errors: FieldError[], containers: readonly EphemeralContainer[], spec: PodSpec): void {
  const others = new Set([...(spec.initContainers ?? []), ...spec.containers].map(({ name }) => name));
  const names = new Set<string>();
  for (const [index, container] of containers.entries()) {
    const field = `spec.ephemeralContainers[${index}]`;
    const { name = '', targetContainerName = '' } = container;
    if (name === '') errors.push(required(`${field}.name`));
    else check(errors, `${field}.name`, name, dnsLabelErrors(name));
    if (others.has(name) || names.has(name)) errors.push(duplicate(`${field}.name`, name));
    names.add(name);
    checkImages(errors, 'spec.ephemeralContainers', [container as Container]);
    if (targetContainerName !== '' && !others.has(targetContainerName)) {
      errors.push(notFoundValue(`${field}.targetContainerName`, targetContainerName));
    }
    for (const foreign of foreignFields) {
      const value = (container as Container & { readonly resizePolicy?: unknown })[foreign];
      if (!isAbsent(value) && Object.keys(value as object).length > 0) {
        errors.push(forbidden(`${field}.${foreign}`, 'cannot be set for an Ephemeral Container'));
      }
    }
    for (const [at, { subPath = '', subPathExpr = '' }] of (container.volumeMounts ?? []).entries()) {
      const mount = `${field}.volumeMounts[${at}]`;
      if (subPath !== '') errors.push(forbidden(`${mount}.subPath`, 'cannot be set for an Ephemeral Container'));
      if (subPathExpr !== '') errors.push(forbidden(`${mount}.subPathExpr`, 'cannot be set for an Ephemeral Container'));
    }
  }
}

// --------------------------------------------------------------------------------------------------------------------------- resize

/** `pods/resize`: how much CPU and memory the containers of a pod may use. */
export const resizePart: SubresourcePart<Pod> = {
  take(before, wanted) {
    const resized = (containers: readonly Container[] = [], next: readonly Container[] = []): readonly Container[] =>
      mapShared(containers, (container) => {
        const same = next.find(({ name }) => name === container.name);
        if (same === undefined) return container;
        // A resize must not change the policy: a change is refused where both are compared.
        const { resizePolicy } = same as Resizable;
        const resized = withField(container, 'resources', same.resources ?? {});
        return isAbsent(resizePolicy) ? resized : withField<Resizable, 'resizePolicy'>(resized, 'resizePolicy', resizePolicy);
      });
    const { spec } = before;
    if (namesOf(wanted) !== namesOf(before)) return withField(before, 'spec', defaultSpecOfPod(wanted.spec));
    let next = withField(spec, 'containers', resized(spec.containers, wanted.spec.containers));
    if (!isAbsent(spec.initContainers)) next = withField(next, 'initContainers', resized(spec.initContainers, wanted.spec.initContainers));
    return withField(before, 'spec', next);
  },
  validate(pod, before) {
    const errors: FieldError[] = [];
    if (pod.spec === before.spec) return errors;
    checkPodSpec(errors, 'spec', pod.spec);
    checkImages(errors, 'spec.containers', pod.spec.containers);
    if (namesOf(pod) !== namesOf(before)) {
      errors.push(forbidden('spec.containers', 'containers may not be added or removed on resize'));
      return errors;
    }
    if (qosClassOf(pod.spec) !== qosClassOf(before.spec)) {
      errors.push(invalidValue('spec', pod.status?.qosClass ?? '', 'Pod QOS Class may not change as a result of resizing'));
    }
    if (!isResizable(before)) errors.push(forbidden('spec', 'Pod running on node without support for resize'));
    for (const list of ['containers', 'initContainers'] as const) {
      for (const [index, container] of (pod.spec[list] ?? []).entries()) {
        const old = before.spec[list]?.[index];
        if (old !== undefined) checkResize(errors, `spec.${list}[${index}].resources`, container.resources ?? {}, old.resources ?? {});
      }
    }
    if (othersChanged(pod.spec, before.spec)) errors.push(forbidden('spec', 'only cpu and memory resources are mutable'));
    return errors;
  },
};

/** An agent that can resize a container says what its resources are; one that does not would leave the wish without effect. */
function isResizable({ status }: Pod): boolean {
  const running = status?.containerStatuses?.find(({ state }) => !isAbsent(state?.running));
  return running === undefined || !isAbsent((running as { readonly resources?: unknown }).resources);
}

const sizes = new Set(['cpu', 'memory']);

function checkResize(errors: FieldError[], field: string, next: ResourceRequirements, before: ResourceRequirements): void {
  for (const kind of ['limits', 'requests'] as const) {
    const removed = Object.keys(before[kind] ?? {}).some((name) => sizes.has(name) && !Object.hasOwn(next[kind] ?? {}, name));
    if (removed) errors.push(forbidden(`${field}.${kind}`, `resource ${kind} cannot be removed`));
  }
}

type Resizable = Container & { readonly resizePolicy?: unknown };

const namesOf = ({ spec }: Pod): string => spec.containers.map(({ name }) => name).join();

function othersChanged(next: PodSpec, before: PodSpec): boolean {
  const others = (resources: ResourceRequirements = {}): unknown => {
    const rest = (amounts: Readonly<Record<string, string>> = {}): unknown =>
      Object.fromEntries(Object.entries(amounts).filter(([name]) => !sizes.has(name)));
    return { ...resources, limits: rest(resources.limits), requests: rest(resources.requests) };
  };
  return (['containers', 'initContainers'] as const).some((list) =>
    (next[list] ?? []).some((container, index) => {
      const old = before[list]?.[index];
      const isSamePolicy = deepEqual((container as Resizable).resizePolicy, (old as Resizable | undefined)?.resizePolicy);
      return !isSamePolicy || !deepEqual(others(container.resources), others(old?.resources));
    }),
  );
}
