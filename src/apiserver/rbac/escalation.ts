import { type AnyBinding, type RoleRef, sameRoleRef } from '../../api/rbac/v1/binding-parts.ts';
import { type ClusterRole, clusterRoles } from '../../api/rbac/v1/cluster-role.ts';
import { type PolicyRule, rbacGroup } from '../../api/rbac/v1/policy-rule.ts';
import type { Role } from '../../api/rbac/v1/role.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { deepEqual, type KubeObject } from '../../machinery/object.ts';
import { forbidden, notFound, type StatusError } from '../../machinery/status-error.ts';
import type { AdmissionRequest, AdmissionStep } from '../admission/admission.ts';
import type { Authorizer } from '../authorizer.ts';
import type { UserInfo } from '../user.ts';
import type { RuleIndex } from './rule-index.ts';
import { missingRights, textOfRule, textOfStrings } from './rules.ts';

const everything: readonly PolicyRule[] = [
  { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
  { verbs: ['*'], nonResourceURLs: ['*'] },
];

/** The user who grants rights in a namespace, and the error when that is not allowed. */
interface Grantor {
  readonly user: UserInfo;
  readonly namespace: string;
  refuse(why: string): StatusError;
}

/**
 * Users cannot grant more rights than they have. To write a role a user must hold its rules or the verb `escalate` on
 * it. To write a binding a user must hold the rules of its role or the verb `bind` on it.
 *
 * @see Kubernetes, "Using RBAC Authorization", "Privilege escalation prevention and bootstrapping"
 */
export function escalationCheck(authorizer: Pick<Authorizer, 'decide' | 'isPrivileged'>, index: RuleIndex): AdmissionStep {
  function checkHeld({ user, namespace, refuse }: Grantor, wanted: readonly PolicyRule[]): void {
    const grants = index.grantsOf(user, namespace);
    const missing = missingRights(
      grants.flatMap(({ rules }) => rules),
      wanted,
    );
    if (missing === undefined) throw refuse('the rules are too many to be compared with those currently held');
    if (missing.length === 0) return;
    const unresolved = grants.flatMap((grant) => (grant.missing === undefined ? [] : [grant.missing]));
    throw refuse(
      `user ${JSON.stringify(user.name)} (groups=${textOfStrings(user.groups)}) is attempting to grant RBAC permissions not currently held:\n` +
        [...new Set(missing.map(textOfRule))].sort().join('\n') +
        (unresolved.length === 0 ? '' : `; resolution errors: [${unresolved.join(', ')}]`),
    );
  }

  function checkRole({ kind, namespace = '', name, object, before, user }: AdmissionRequest): void {
    const role = object as ClusterRole;
    const old = before as ClusterRole | undefined;
    if (old !== undefined && deepEqual(role.rules, old.rules) && deepEqual(role.aggregationRule, old.aggregationRule)) return;
    const { allowed } = authorizer.decide(user, { verb: 'escalate', group: rbacGroup, resource: kind.resource, namespace, name });
    if (allowed) return;
    const refuse = (why: string): StatusError => forbidden(kind, name, why);
    // The rules of an aggregated role depend on the labels of other roles.
    if (kind.resource === clusterRoles.resource && (role.aggregationRule ?? undefined) !== undefined) {
      const whole = (): StatusError => refuse('must have cluster-admin privileges to use the aggregationRule');
      checkHeld({ user, namespace, refuse: whole }, everything);
    }
    checkHeld({ user, namespace, refuse }, (object as Role).rules ?? []);
  }

  function checkBinding({ kind, namespace = '', name, object, before, user }: AdmissionRequest): void {
    const { roleRef, subjects } = object as AnyBinding;
    const old = before as AnyBinding | undefined;
    if (old !== undefined && sameRoleRef(roleRef, old.roleRef) && deepEqual(subjects, old.subjects)) return;
    if (mayBind(user, roleRef, namespace)) return;
    const rules = index.rulesOfRole(roleRef, namespace);
    if (rules === undefined) throw notFound({ group: rbacGroup, resource: roleRef.kind.toLowerCase() }, roleRef.name);
    checkHeld({ user, namespace, refuse: (why) => forbidden(kind, name, why) }, rules);
  }

  const mayBind = (user: UserInfo, { kind, name }: RoleRef, namespace: string): boolean =>
    authorizer.decide(user, {
      verb: 'bind',
      group: rbacGroup,
      resource: kind === 'Role' ? 'roles' : 'clusterroles',
      namespace,
      name,
    }).allowed;

  return {
    name: 'RbacEscalation',
    appliesTo: (kind: KindDefinition, operation) => kind.group === rbacGroup && operation !== 'delete',
    admit(request): KubeObject {
      if (authorizer.isPrivileged(request.user)) return request.object;
      if (isBinding(request.kind)) checkBinding(request);
      else checkRole(request);
      return request.object;
    },
  };
}

const isBinding = ({ resource }: KindDefinition): boolean => resource === 'rolebindings' || resource === 'clusterrolebindings';
