import { deepEqual, type OwnerReference } from '../../machinery/object.ts';
import { parseApiVersion } from '../../machinery/resource.ts';
import { forbidden } from '../../machinery/status-error.ts';
import type { Authorizer } from '../authorizer.ts';
import type { KindTable } from '../kube-api.ts';
import type { AdmissionRequest, AdmissionStep } from './admission.ts';

export interface OwnerReferencesOptions {
  readonly authorizer: Pick<Authorizer, 'decide' | 'isPrivileged'>;
  readonly kinds: Pick<KindTable, 'findByKind'>;
}

/**
 * An owner decides over its dependents. A user who changes the owners of an object must therefore be allowed to delete
 * it. A user who sets `blockOwnerDeletion` must be allowed to set finalizers on the owner. Off by default: many
 * operators lack these rights.
 *
 * @throws StatusError `Forbidden`
 * @see Kubernetes reference, "Admission Controllers", "OwnerReferencesPermissionEnforcement"
 */
export function ownerReferencesPermission({ authorizer, kinds }: OwnerReferencesOptions): AdmissionStep {
  function checkBlocking({ kind, namespace, name, user }: AdmissionRequest, owner: OwnerReference): void {
    const { group, version } = parseApiVersion(owner.apiVersion);
    const ofOwner = kinds.findByKind(group, version, owner.kind);
    if (ofOwner === undefined) {
      throw forbidden(
        kind,
        name,
        `cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion ${owner.apiVersion} Kind ${owner.kind}: no matches for kind ${JSON.stringify(owner.kind)} in version ${JSON.stringify(owner.apiVersion)}`,
      );
    }
    const { allowed, reason } = authorizer.decide(user, {
      verb: 'update',
      group,
      version,
      resource: ofOwner.resource,
      subresource: 'finalizers',
      name: owner.name,
      ...(ofOwner.namespaced ? { namespace } : {}),
    });
    if (allowed) return;
    throw forbidden(
      kind,
      name,
      `cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: ${reason}, <nil>`,
    );
  }

  return {
    name: 'OwnerReferencesPermissionEnforcement',
    phase: 'validating',
    subresources: ['status'],
    appliesTo: (_kind, operation) => operation === 'create' || operation === 'update',
    admit(request) {
      const { kind, subresource, operation, object, before, namespace, name, user } = request;
      const owners = object.metadata.ownerReferences ?? none;
      const old = before?.metadata.ownerReferences ?? none;
      if (owners === old || (owners.length === 0 && old.length === 0)) return object;
      if (authorizer.isPrivileged(user) || deepEqual(owners, old)) return object;
      if (operation === 'update') {
        const { group, version, resource } = kind;
        const { allowed, reason } = authorizer.decide(user, { verb: 'delete', group, version, resource, subresource, namespace, name });
        if (!allowed) throw forbidden(kind, name, `cannot set an ownerRef on a resource you can't delete: ${reason}, <nil>`);
      }
      const blocking = owners.filter((owner) => blocks(owner) && !old.some((known) => known.uid === owner.uid && blocks(known)));
      for (const owner of blocking) checkBlocking(request, owner);
      return object;
    },
  };
}

const none: readonly OwnerReference[] = [];
const blocks = ({ blockOwnerDeletion }: OwnerReference): boolean => blockOwnerDeletion === true;
