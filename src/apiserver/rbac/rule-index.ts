import type { AnyBinding, RoleRef, Subject } from '../../api/rbac/v1/binding-parts.ts';
import { clusterRoles } from '../../api/rbac/v1/cluster-role.ts';
import { clusterRoleBindings } from '../../api/rbac/v1/cluster-role-binding.ts';
import type { PolicyRule } from '../../api/rbac/v1/policy-rule.ts';
import { roles } from '../../api/rbac/v1/role.ts';
import { roleBindings } from '../../api/rbac/v1/role-binding.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { type KubeObject, keyOf } from '../../machinery/object.ts';
import { notFound } from '../../machinery/status-error.ts';
import { followObjects } from '../registry/follow.ts';
import type { Registry } from '../registry/registry.ts';
import type { UserInfo } from '../user.ts';

/** The roles of each user, kept up to date by changes of the four kinds of RBAC, so that a check scans nothing. */
export interface RuleIndex {
  /** Rises with every change of a role or binding. */
  readonly revision: number;
  /** Rules that the user has everywhere and, when a namespace is named, in it. */
  grantsOf(user: UserInfo, namespace: string): readonly Grant[];
  /** Undefined when there is no such role. */
  rulesOfRole(ref: Pick<RoleRef, 'kind' | 'name'>, namespace: string): readonly PolicyRule[] | undefined;
}

/** A role as it is bound to a subject. */
export interface Grant {
  readonly rules: readonly PolicyRule[];
  /** `RoleBinding "b/ns" of Role "r" to User "alice"` */
  readonly origin: string;
  /** The role that is bound does not exist. */
  readonly missing: string | undefined;
}

interface BoundSubject {
  readonly roleRef: RoleRef;
  readonly namespace: string;
  readonly origin: string;
}

/** Bindings by subject; one subject may be listed twice in a binding. */
type Bindings = Map<string, Map<string, BoundSubject>>;

const clusterWide = '';

/** @param served  kinds of the server; without those of RBAC nobody has a role */
export function createRuleIndex(registry: Pick<Registry, 'stateOf' | 'revision'>, served: readonly KindDefinition[]): RuleIndex {
  const rules = new Map<string, readonly PolicyRule[]>();
  const bindings = new Map<string, Bindings>();
  let revision = 0;

  const setRole = (kind: string, object: KubeObject): void => {
    rules.set(roleKey(kind, object.metadata.namespace ?? clusterWide, object.metadata.name), rulesIn(object));
  };
  const dropRole = (kind: string, { metadata }: KubeObject): void => {
    rules.delete(roleKey(kind, metadata.namespace ?? clusterWide, metadata.name));
  };

  function eachSubject(object: KubeObject, visit: (bound: Map<string, BoundSubject>, subject: Subject) => void): void {
    const namespace = object.metadata.namespace ?? clusterWide;
    const bySubject: Bindings = bindings.get(namespace) ?? new Map();
    bindings.set(namespace, bySubject);
    for (const subject of (object as AnyBinding).subjects ?? []) {
      const key = subjectKey(subject, namespace);
      if (key === undefined) continue;
      const bound = bySubject.get(key) ?? new Map<string, BoundSubject>();
      bySubject.set(key, bound);
      visit(bound, subject);
      if (bound.size === 0) bySubject.delete(key);
    }
    if (bySubject.size === 0) bindings.delete(namespace);
  }
  const addBinding = (kind: string, object: KubeObject): void => {
    const { roleRef, metadata } = object as AnyBinding;
    const namespace = metadata.namespace ?? clusterWide;
    const name = namespace === clusterWide ? metadata.name : `${metadata.name}/${namespace}`;
    eachSubject(object, (bound, subject) => {
      const origin = `${kind} ${quoted(name)} of ${roleRef.kind} ${quoted(roleRef.name)} to ${textOfSubject(subject, namespace)}`;
      bound.set(keyOf(object), { roleRef, namespace, origin });
    });
  };
  const dropBinding = (object: KubeObject): void => eachSubject(object, (bound) => void bound.delete(keyOf(object)));

  follow(roles, (before, after) => (after === undefined ? dropRole('Role', before) : setRole('Role', after)));
  follow(clusterRoles, (before, after) => (after === undefined ? dropRole('ClusterRole', before) : setRole('ClusterRole', after)));
  for (const kind of [roleBindings, clusterRoleBindings] as readonly KindDefinition[]) {
    follow(kind, (before, after) => {
      dropBinding(before);
      if (after !== undefined) addBinding(kind.kind, after);
    });
  }

  /**
   * Reads the present objects and every committed change: a right is in effect, or revoked, before its writer gets the
   * answer.
   */
  function follow(kind: KindDefinition, change: (before: KubeObject, after: KubeObject | undefined) => void): void {
    if (!served.some(({ group, resource }) => group === kind.group && resource === kind.resource)) return;
    const known = new Map<string, KubeObject>();
    followObjects(registry, kind, (object, gone) => {
      const key = keyOf(object);
      const before = known.get(key) ?? object;
      if (gone) known.delete(key);
      else known.set(key, object);
      change(before, gone ? undefined : object);
      revision += 1;
    });
  }

  function collect(grants: Grant[], bySubject: Bindings | undefined, subjects: readonly string[]): void {
    if (bySubject === undefined) return;
    for (const subject of subjects) {
      for (const { roleRef, namespace, origin } of bySubject.get(subject)?.values() ?? []) {
        const found = rulesOfRole(roleRef, namespace);
        grants.push({ rules: found ?? [], origin, missing: found === undefined ? missingRole(roleRef) : undefined });
      }
    }
  }

  function rulesOfRole({ kind, name }: Pick<RoleRef, 'kind' | 'name'>, namespace: string): readonly PolicyRule[] | undefined {
    return rules.get(roleKey(kind, kind === 'Role' ? namespace : clusterWide, name));
  }

  return {
    get revision() {
      return revision;
    },
    rulesOfRole,
    grantsOf(user, namespace) {
      const subjects = [userKey(user.name), ...user.groups.map(groupKey)];
      const grants: Grant[] = [];
      collect(grants, bindings.get(clusterWide), subjects);
      if (namespace !== clusterWide) collect(grants, bindings.get(namespace), subjects);
      return grants;
    },
  };
}

const rulesIn = (object: KubeObject): readonly PolicyRule[] => (object as { readonly rules?: readonly PolicyRule[] | null }).rules ?? [];

const roleKey = (kind: string, namespace: string, name: string): string => `${kind} ${namespace}/${name}`;
const userKey = (name: string): string => `user ${name}`;
const groupKey = (name: string): string => `group ${name}`;

function subjectKey({ kind, name, namespace = '' }: Subject, home: string): string | undefined {
  switch (kind) {
    case 'User':
      return userKey(name);
    case 'Group':
      return groupKey(name);
    case 'ServiceAccount': {
      const owner = namespace === '' ? home : namespace;
      return owner === '' ? undefined : userKey(`system:serviceaccount:${owner}:${name}`);
    }
    default:
      return undefined;
  }
}

const quoted = (text: string): string => JSON.stringify(text);

function textOfSubject({ kind, name, namespace = '' }: Subject, home: string): string {
  if (kind !== 'ServiceAccount') return `${kind} ${quoted(name)}`;
  return `${kind} ${quoted(`${name}/${namespace === '' ? home : namespace}`)}`;
}

const missingRole = ({ kind, name }: RoleRef): string =>
  notFound({ group: clusterRoles.group, resource: kind.toLowerCase() }, name).message;
