import { namespaces } from '../../api/core/v1/namespace.ts';
import { forbidden, notFound, StatusError } from '../../machinery/status-error.ts';
import { isNamespace } from '../registry/deletion.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionStep } from './admission.ts';

const immortal: ReadonlySet<string> = new Set(['default', 'kube-system', 'kube-public']);

/**
 * Allows creations only in namespaces that exist and are not terminating, and keeps the system namespaces from
 * deletion.
 */
export function namespaceLifecycle(registry: Pick<Registry, 'get'>): AdmissionStep {
  return {
    name: 'NamespaceLifecycle',
    appliesTo: (kind, operation) => (operation === 'create' && kind.namespaced) || (operation === 'delete' && isNamespace(kind)),
    admit({ kind, operation, namespace = '', name, object }) {
      if (operation === 'delete') {
        if (immortal.has(name)) throw forbidden(kind, name, 'this namespace may not be deleted');
        return object;
      }
      const home = registry.get(namespaces, namespace);
      if (home === undefined) throw notFound(namespaces, namespace);
      if (home.metadata.deletionTimestamp !== undefined) throw terminating(kind, name, namespace);
      return object;
    },
  };
}

function terminating(what: { readonly group: string; readonly resource: string }, name: string, namespace: string): StatusError {
  const { code, reason, message, details } = forbidden(
    what,
    name,
    `unable to create new content in namespace ${namespace} because it is being terminated`,
  );
  const cause = { reason: 'NamespaceTerminating', message: `namespace ${namespace} is being terminated`, field: 'metadata.namespace' };
  return new StatusError({ code, reason, message, details: { ...details, causes: [cause] } });
}
