import { type Ingress, ingresses } from '../../api/networking/v1/ingress.ts';
import { ingressClasses } from '../../api/networking/v1/ingress-class.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionStep } from './admission.ts';
import { defaultOf } from './default-class.ts';

const legacyClass = 'kubernetes.io/ingress.class';

/** An Ingress that names no class gets the one that is marked as default. */
export function defaultIngressClass(registry: Pick<Registry, 'stateOf'>): AdmissionStep {
  return {
    name: 'DefaultIngressClass',
    appliesTo: ({ group, resource }, operation) => operation === 'create' && group === ingresses.group && resource === ingresses.resource,
    admit({ object }) {
      const ingress = object as Ingress;
      const given = ingress.spec?.ingressClassName ?? undefined;
      if (given !== undefined || ingress.metadata.annotations?.[legacyClass] !== undefined) return ingress;
      const chosen = defaultOf(registry, ingressClasses, ['ingressclass.kubernetes.io/is-default-class']);
      return chosen === undefined ? ingress : { ...ingress, spec: { ...ingress.spec, ingressClassName: chosen.metadata.name } };
    },
  };
}
