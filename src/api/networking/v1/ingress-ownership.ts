import type { Ingress } from './ingress.ts';
import type { IngressClass } from './ingress-class.ts';

/** `spec.controller` of the classes whose Ingresses the proxy of this program serves. */
export const ingressController = 'midship.dev/ingress';
/** The class that a start makes. */
export const ownIngressClass = 'midship';
/** Marks the class of Ingresses that name none. */
export const defaultClassAnnotation = 'ingressclass.kubernetes.io/is-default-class';

/** The class that an Ingress names, in its field or in the annotation of old; undefined: it names none. */
export const namedClassOf = ({ metadata, spec }: Ingress): string | undefined =>
  spec.ingressClassName ?? metadata.annotations?.['kubernetes.io/ingress.class'];

/** The class of an Ingress among `classes`: the named one, or the newest default. Undefined: there is none, and nobody serves it. */
export function classOf(ingress: Ingress, classes: Iterable<IngressClass>): IngressClass | undefined {
  const name = namedClassOf(ingress);
  let chosen: IngressClass | undefined;
  for (const each of classes) {
    if (name !== undefined) {
      if (each.metadata.name === name) return each;
    } else if (each.metadata.annotations?.[defaultClassAnnotation] === 'true' && (chosen === undefined || isNewer(each, chosen)))
      chosen = each;
  }
  return chosen;
}

/** True when the proxy of this program serves it. */
export const isServedHere = (ingress: Ingress, classes: Iterable<IngressClass>): boolean => isOwnClass(classOf(ingress, classes));

export const isOwnClass = (ingressClass: IngressClass | undefined): boolean => ingressClass?.spec?.controller === ingressController;

/** As the API server chooses among several defaults. */
function isNewer({ metadata: a }: IngressClass, { metadata: b }: IngressClass): boolean {
  const [ofA, ofB] = [a.creationTimestamp ?? '', b.creationTimestamp ?? ''];
  return ofA === ofB ? a.name < b.name : ofA > ofB;
}
