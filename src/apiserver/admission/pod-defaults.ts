import { isMirrorPod, type Pod, type PodSpec, pods, type Toleration } from '../../api/core/v1/pod.ts';
import { type ServiceAccount, serviceAccounts } from '../../api/core/v1/service-account.ts';
import { type PriorityClass, priorityClasses, systemPriorityClasses } from '../../api/scheduling/v1/priority-class.ts';
import { taints } from '../../api/well-known.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { deepFreeze } from '../../machinery/object.ts';
import { forbidden } from '../../machinery/status-error.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionStep } from './admission.ts';

const isPod = (kind: KindDefinition): boolean => kind.group === '' && kind.resource === 'pods';

/**
 * A step that fills in a pod's spec on creation. The result is cached by the frozen input spec. Pods of one template
 * therefore share one spec, and the second of them costs a look-up.
 */
function podSpecStep(name: string, fill: (spec: PodSpec) => PodSpec): AdmissionStep {
  const filled = new WeakMap<PodSpec, PodSpec>();
  return {
    name,
    appliesTo: (kind, operation) => operation === 'create' && isPod(kind),
    admit({ object }) {
      const pod = object as Pod;
      const known = filled.get(pod.spec);
      const spec = known ?? fill(pod.spec);
      if (known === undefined && Object.isFrozen(pod.spec)) filled.set(pod.spec, deepFreeze(spec));
      return spec === pod.spec ? pod : { ...pod, spec };
    },
  };
}

/**
 * Every pod runs as a service account of its namespace, `default` unless it says otherwise. It pulls its images with the account's
 * Secrets unless it names its own.
 *
 * A mirror pod shows what a node runs already, and gets no account.
 *
 * @throws StatusError `Forbidden` when the account is not there, and for a mirror pod with one
 */
export function serviceAccount(registry: Pick<Registry, 'get'>): AdmissionStep {
  const filled = new WeakMap<ServiceAccount, WeakMap<PodSpec, PodSpec>>();
  return {
    name: 'ServiceAccount',
    appliesTo: (kind, operation) => operation === 'create' && isPod(kind),
    admit({ object, name }) {
      const pod = object as Pod;
      if (isMirrorPod(pod)) {
        if (named(pod.spec.serviceAccountName) !== undefined)
          throw forbidden(pods, name, 'a mirror pod may not reference service accounts');
        return object;
      }
      const { namespace = '' } = pod.metadata;
      const accountName = named(pod.spec.serviceAccountName) ?? 'default';
      const account = registry.get(serviceAccounts, `${namespace}/${accountName}`) as ServiceAccount | undefined;
      if (account === undefined) {
        const why = `serviceaccount ${JSON.stringify(accountName)} not found`;
        throw forbidden(pods, name, `error looking up service account ${namespace}/${accountName}: ${why}`);
      }
      let known = filled.get(account);
      if (known === undefined) {
        known = new WeakMap();
        filled.set(account, known);
      }
      let spec = known.get(pod.spec);
      if (spec === undefined) {
        spec = withAccount(pod.spec, account);
        if (Object.isFrozen(pod.spec)) known.set(pod.spec, deepFreeze(spec));
      }
      return spec === pod.spec ? pod : { ...pod, spec };
    },
  };
}

const named = (name: string | undefined): string | undefined => (name === '' ? undefined : name);

function withAccount(spec: PodSpec, { imagePullSecrets = [] }: ServiceAccount): PodSpec {
  const pulls = (spec.imagePullSecrets ?? []).length === 0 && imagePullSecrets.length > 0;
  if (named(spec.serviceAccountName) !== undefined && !pulls) return spec;
  return {
    ...spec,
    ...(named(spec.serviceAccountName) === undefined ? { serviceAccountName: 'default', serviceAccount: 'default' } : {}),
    ...(pulls ? { imagePullSecrets } : {}),
  };
}

/**
 * A pod gets the priority of its class; without one, that of the class that is the default for all, or 0. Classes are frozen and their
 * values never change, so what a spec becomes is remembered by class and spec.
 *
 * @throws StatusError `Forbidden` for a class that is not there, and for a priority that is not that of the class
 */
export function priority(registry: Pick<Registry, 'get' | 'stateOf'>): AdmissionStep {
  const filled = new WeakMap<object, WeakMap<PodSpec, PodSpec>>();
  return {
    name: 'Priority',
    appliesTo: (kind, operation) => operation === 'create' && isPod(kind),
    admit({ object, name }) {
      const pod = object as Pod;
      const className = pod.spec.priorityClassName ?? '';
      const given = className === '' ? defaultClass(registry) : (registry.get(priorityClasses, className) as PriorityClass | undefined);
      if (className !== '' && given === undefined) throw forbidden(pods, name, `no PriorityClass with name ${className} was found`);
      const priorityClass = given ?? noClass;
      let known = filled.get(priorityClass);
      if (known === undefined) {
        known = new WeakMap();
        filled.set(priorityClass, known);
      }
      let spec = known.get(pod.spec);
      if (spec === undefined) {
        spec = withPriority(pod.spec, priorityClass, name);
        if (Object.isFrozen(pod.spec)) known.set(pod.spec, deepFreeze(spec));
      }
      return spec === pod.spec ? pod : { ...pod, spec };
    },
  };
}

/** Values for a pod without a class. */
const noClass = { metadata: { name: '' }, value: 0, preemptionPolicy: 'PreemptLowerPriority' } as const;

function withPriority(spec: PodSpec, { metadata, value, preemptionPolicy }: Priority, podName: string): PodSpec {
  if (spec.priority !== undefined && spec.priority !== value) {
    throw forbidden(
      pods,
      podName,
      `the integer value of priority (${spec.priority}) must not be provided in pod spec; priority admission controller computed ${value} from the given PriorityClass name`,
    );
  }
  const policy = preemptionPolicy ?? noClass.preemptionPolicy;
  if (spec.preemptionPolicy !== undefined && spec.preemptionPolicy !== policy) {
    throw forbidden(
      pods,
      podName,
      `the string value of PreemptionPolicy (${spec.preemptionPolicy}) must not be provided in pod spec; priority admission controller computed ${policy} from the given PriorityClass name`,
    );
  }
  const named = metadata.name === '' || spec.priorityClassName === metadata.name ? spec : { ...spec, priorityClassName: metadata.name };
  if (named.priority !== undefined && named.preemptionPolicy !== undefined) return named;
  return { ...named, priority: value, preemptionPolicy: policy };
}

type Priority = Pick<PriorityClass, 'value' | 'preemptionPolicy'> & { readonly metadata: { readonly name: string } };

/** Among several default classes the one with the lowest value wins, as upstream. */
function defaultClass(registry: Pick<Registry, 'stateOf'>): PriorityClass | undefined {
  let lowest: PriorityClass | undefined;
  for (const object of registry.stateOf(priorityClasses).all.objects.values()) {
    const priorityClass = object as PriorityClass;
    if (priorityClass.globalDefault === true && (lowest === undefined || priorityClass.value < lowest.value)) lowest = priorityClass;
  }
  return lowest;
}

/**
 * Only one class is the default for all, and those of system pods stay: without them such a pod is refused.
 *
 * @throws StatusError `Forbidden` for a second default, and for the deletion of a system class
 */
export function priorityClassRules(registry: Pick<Registry, 'stateOf'>): AdmissionStep {
  return {
    name: 'Priority',
    phase: 'validating',
    appliesTo: ({ group, resource }, operation) =>
      operation !== 'connect' && group === priorityClasses.group && resource === priorityClasses.resource,
    admit({ kind, name, object, operation }) {
      if (operation === 'delete') {
        const isSystem = systemPriorityClasses.some((known) => known.name === object.metadata.name);
        if (isSystem) throw forbidden(kind, object.metadata.name, 'this is a system priority class and cannot be deleted');
        return object;
      }
      if ((object as PriorityClass).globalDefault !== true) return object;
      const known = defaultClass(registry);
      if (known === undefined || known.metadata.name === name) return object;
      const why = `PriorityClass ${known.metadata.name} is already marked as default. Only one default can exist`;
      throw forbidden(kind, name, why);
    },
  };
}

const tolerationSeconds = 300;
const graceful: readonly Toleration[] = deepFreeze(
  [taints.notReady, taints.unreachable].map((key) => ({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds })),
);

/** Pods stay five minutes on a node that is not ready or unreachable, unless they say themselves what they tolerate. */
export function defaultTolerationSeconds(): AdmissionStep {
  return podSpecStep('DefaultTolerationSeconds', (spec) => {
    const given = spec.tolerations ?? [];
    const missing = graceful.filter(({ key }) => !given.some((toleration) => tolerates(toleration, key ?? '')));
    return missing.length === 0 ? spec : { ...spec, tolerations: [...given, ...missing] };
  });
}

const tolerates = ({ key = '', effect = '' }: Toleration, taint: string): boolean =>
  (key === taint || key === '') && (effect === 'NoExecute' || effect === '');
