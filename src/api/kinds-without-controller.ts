import type { KubeObject } from '../machinery/object.ts';
import { parseApiVersion } from '../machinery/resource.ts';
import type { Ingress } from './networking/v1/ingress.ts';
import type { IngressClass } from './networking/v1/ingress-class.ts';
import { classOf, namedClassOf } from './networking/v1/ingress-ownership.ts';

const policyKind = 'networking.k8s.io/NetworkPolicy';
const ingressKind = 'networking.k8s.io/Ingress';

/** True for kinds of which `noControllerText` may say something. */
export const mayLackController = ({ group, kind }: { readonly group: string; readonly kind: string }): boolean =>
  `${group}/${kind}` === policyKind || `${group}/${kind}` === ingressKind;

/** Facts of a cluster, each asked for objects of one kind alone. */
export interface ControllerFacts {
  /** On every node, as `enforcesPoliciesEverywhere` finds it. */
  arePoliciesEnforced(): boolean;
  /** An Ingress without a class has no controller. Undefined: they are not known. */
  ingressClasses(): Iterable<IngressClass> | undefined;
}

/**
 * Says that nothing acts on an object; undefined when something does. A status that somebody wrote is proof that a controller of the
 * user's own does.
 */
export function noControllerText(object: KubeObject, facts: ControllerFacts): string | undefined {
  const { apiVersion, kind, metadata } = object;
  const name = `${parseApiVersion(apiVersion).group}/${kind}`;
  if (name === policyKind) {
    if (facts.arePoliciesEnforced()) return undefined;
    return `${kind} ${metadata.name} is stored, but not every node enforces it: it blocks no traffic of pods on the others`;
  }
  if (metadata.managedFields?.some(({ subresource }) => subresource === 'status') === true) return undefined;
  return name === ingressKind ? noClassText(object as Ingress, facts.ingressClasses()) : undefined;
}

/** Another class than our own is left to its controller, which may come later. */
function noClassText(ingress: Ingress, classes: Iterable<IngressClass> | undefined): string | undefined {
  if (classes === undefined || classOf(ingress, classes) !== undefined) return undefined;
  const name = namedClassOf(ingress);
  const lack =
    name === undefined ? 'it names no IngressClass and the cluster has no default one' : `the cluster has no IngressClass ${name}`;
  return `Ingress ${ingress.metadata.name} is stored, but ${lack}: it routes no requests`;
}
