import { namespaces } from '../../../api/core/v1/namespace.ts';
import { type Pod, type PodSpec, pods } from '../../../api/core/v1/pod.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DynamicObject, KubeObject } from '../../../machinery/object.ts';
import { forbidden, invalid } from '../../../machinery/status-error.ts';
import type { Registry } from '../../registry/registry.ts';
import type { AdmissionRequest, AdmissionStep, Operation } from '../admission.ts';
import { inNamespace } from '../in-namespace.ts';
import { containersOf, type PodMetadata } from './checks.ts';
import {
  compareLevels,
  createPolicyReader,
  describe,
  type Level,
  type LevelVersion,
  type NamespacePolicy,
  sameLevel,
  textOf,
  violationsOf,
} from './policy.ts';

/** Existing pods that are looked at when a namespace becomes stricter; upstream's number. */
const maxCheckedPods = 3_000;
const annotationPrefix = 'pod-security.kubernetes.io/';
const seccompAnnotation = 'seccomp.security.alpha.kubernetes.io/pod';
const seccompPrefix = 'container.seccomp.security.alpha.kubernetes.io/';

/** Path of the pod template in a kind. */
const templates: Readonly<Record<string, readonly string[]>> = {
  replicationcontrollers: ['spec', 'template'],
  podtemplates: ['template'],
  'replicasets.apps': ['spec', 'template'],
  'deployments.apps': ['spec', 'template'],
  'statefulsets.apps': ['spec', 'template'],
  'daemonsets.apps': ['spec', 'template'],
  'jobs.batch': ['spec', 'template'],
  'cronjobs.batch': ['spec', 'jobTemplate', 'spec', 'template'],
};

const nameOf = ({ group, resource }: KindDefinition): string => (group === '' ? resource : `${resource}.${group}`);

/**
 * The Pod Security Standards. Pods must keep to the level that the labels of their namespace enforce, and clients that
 * write a workload with violating pods get a warning. Unreadable labels are refused. A client that makes a namespace
 * stricter gets a warning with the violating pods.
 *
 * @throws StatusError `Forbidden` for a pod, `Invalid` for a namespace
 */
export function podSecurity(registry: Pick<Registry, 'get' | 'stateOf'>, enforceDefault: Level): AdmissionStep {
  const policyOf = createPolicyReader(enforceDefault);
  const isPod = ({ group, resource }: KindDefinition): boolean => group === pods.group && resource === pods.resource;
  const isNamespace = ({ group, resource }: KindDefinition): boolean => group === namespaces.group && resource === namespaces.resource;

  const policyIn = (namespace: string | undefined): NamespacePolicy => policyOf(registry.get(namespaces, namespace ?? '')?.metadata.labels);

  function checkNamespace({ kind, object, before, name, warn }: AdmissionRequest): void {
    const policy = policyOf(object.metadata.labels);
    const old = before === undefined ? undefined : policyOf(before.metadata.labels);
    const said = JSON.stringify(policy.errors);
    if (policy.errors.length > 0 && said !== JSON.stringify(old?.errors ?? [])) throw invalid(kind, name, policy.errors);
    if (old === undefined || sameLevel(policy.enforce, old.enforce) || policy.enforce.level === 'privileged') return;
    if (policy.enforce.minor === old.enforce.minor && compareLevels(policy.enforce.level, old.enforce.level) <= 0) return;
    for (const text of warningsOfPods(name, policy.enforce)) warn(text);
  }

  function warningsOfPods(namespace: string, enforce: LevelVersion): readonly string[] {
    const all = inNamespace<Pod>(registry, pods, namespace);
    const byReason = new Map<string, { readonly first: string; readonly count: number }>();
    for (const { metadata, spec } of all.slice(0, maxCheckedPods)) {
      const violations = violationsOf(enforce, metadata, spec);
      if (violations.length === 0) continue;
      const reason = violations.map((violation) => violation.reason).join(', ');
      const known = byReason.get(reason);
      byReason.set(reason, { first: known?.first ?? metadata.name, count: (known?.count ?? 0) + 1 });
    }
    const of = ({ first, count }: { readonly first: string; readonly count: number }): string => {
      if (count === 1) return first;
      return count === 2 ? `${first} (and 1 other pod)` : `${first} (and ${count - 1} other pods)`;
    };
    return [
      ...(all.length > maxCheckedPods
        ? [`new PodSecurity enforce level only checked against the first ${maxCheckedPods} of ${all.length} existing pods`]
        : []),
      ...(byReason.size === 0
        ? []
        : [
            `existing pods in namespace ${JSON.stringify(namespace)} violate the new PodSecurity enforce level ${JSON.stringify(textOf(enforce))}`,
          ]),
      ...[...byReason].map(([reason, who]) => `${of(who)}: ${reason}`).sort(),
    ];
  }

  function checkPod(request: AdmissionRequest): void {
    const policy = policyIn(request.namespace);
    if (isOpen(policy.enforce) && isOpen(policy.audit) && isOpen(policy.warn)) return;
    const { metadata, spec } = request.object as Pod;
    if (request.before !== undefined && !changesSecurity(request.object as Pod, request.before as Pod)) return;
    evaluate(request, policy, { metadata, spec, enforces: true });
  }

  function checkWorkload(request: AdmissionRequest, path: readonly string[]): void {
    const policy = policyIn(request.namespace);
    if (isOpen(policy.audit) && isOpen(policy.warn)) return;
    let template: unknown = request.object as DynamicObject;
    for (const field of path) template = (template as Readonly<Record<string, unknown>> | null | undefined)?.[field];
    if (template === undefined || template === null) return;
    const { metadata, spec } = template as { readonly metadata?: PodMetadata | null; readonly spec?: PodSpec | null };
    evaluate(request, policy, { metadata: metadata ?? {}, spec: spec ?? { containers: [] }, enforces: false });
  }

  return {
    name: 'PodSecurity',
    phase: 'validating',
    subresources: ['ephemeralcontainers', 'resize'],
    appliesTo: (kind: KindDefinition, operation: Operation) =>
      (operation === 'create' || operation === 'update') && (isPod(kind) || isNamespace(kind) || Object.hasOwn(templates, nameOf(kind))),
    admit(request): KubeObject {
      const { kind, object } = request;
      if (isPod(kind)) checkPod(request);
      else if (isNamespace(kind)) checkNamespace(request);
      else checkWorkload(request, templates[nameOf(kind)] ?? []);
      return object;
    },
  };
}

const isOpen = ({ level }: LevelVersion): boolean => level === 'privileged';

interface Evaluated {
  readonly metadata: PodMetadata;
  readonly spec: PodSpec;
  /** False for templates: only their pods are refused. */
  readonly enforces: boolean;
}

function evaluate(request: AdmissionRequest, policy: NamespacePolicy, { metadata, spec, enforces }: Evaluated): void {
  const { kind, name, annotate, warn } = request;
  if (policy.errors.length > 0) {
    annotate(
      `${annotationPrefix}error`,
      `Failed to parse policy: ${policy.errors.map(({ field, message }) => `${field}: ${message}`).join(', ')}`,
    );
  }
  const told = (verb: string, level: LevelVersion): string | undefined => {
    const violations = violationsOf(level, metadata, spec);
    return violations.length === 0 ? undefined : `${verb} PodSecurity ${JSON.stringify(textOf(level))}: ${describe(violations)}`;
  };
  const audited = told('would violate', policy.audit);
  if (audited !== undefined) annotate(`${annotationPrefix}audit-violations`, audited);
  if (enforces) {
    annotate(`${annotationPrefix}enforce-policy`, textOf(policy.enforce));
    const refused = told('violates', policy.enforce);
    if (refused !== undefined) throw forbidden(kind, name, refused);
  }
  const warned = told('would violate', policy.warn);
  if (warned !== undefined) warn(warned);
}

/** Among the mutable fields of a pod, only images and the old seccomp annotations affect its security. */
function changesSecurity(pod: Pod, before: Pod): boolean {
  const annotationsDiffer = (key: string): boolean => pod.metadata.annotations?.[key] !== before.metadata.annotations?.[key];
  if (annotationsDiffer(seccompAnnotation)) return true;
  const old = new Map(containersOf(before.spec).map((container) => [container.name, container]));
  const containers = containersOf(pod.spec);
  if (containers.length !== old.size) return true;
  return containers.some(({ name, image }) => {
    const known = old.get(name);
    return known === undefined || known.image !== image || annotationsDiffer(`${seccompPrefix}${name}`);
  });
}
