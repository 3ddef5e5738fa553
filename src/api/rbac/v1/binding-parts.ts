import type { RoleRef as V1RoleRef, Subject as V1Subject } from 'kubernetes-types/rbac/v1.d.ts';
import type { Column } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, nameColumn } from '../../columns.ts';
import { isAbsent, mapShared, withDefaults } from '../../copy-on-write.ts';
import { invalidStruct, invalidValue, notSupported, required } from '../../field-errors.ts';
import { dnsSubdomainErrors, pathSegmentErrors } from '../../formats.ts';
import { rbacGroup } from './policy-rule.ts';

/** Parts that RoleBinding and ClusterRoleBinding share. */
export interface AnyBinding extends KubeObject {
  readonly roleRef: RoleRef;
  readonly subjects?: readonly Subject[];
}

export type RoleRef = DeepReadonly<V1RoleRef>;
export type Subject = DeepReadonly<V1Subject>;

/** Names a group where the client named none; service accounts have none. */
export function bindingDefaults<T extends AnyBinding>(binding: T, before?: T): T {
  const given = isAbsent(binding.roleRef) ? emptyRoleRef : binding.roleRef;
  const roleRef = given === before?.roleRef ? given : withGroup(given);
  const subjects =
    isAbsent(binding.subjects) || binding.subjects === before?.subjects
      ? binding.subjects
      : mapShared(binding.subjects, (subject) => (subject.kind === 'User' || subject.kind === 'Group' ? withGroup(subject) : subject));
  if (roleRef === binding.roleRef && subjects === binding.subjects) return binding;
  return { ...binding, roleRef, ...(subjects === undefined ? {} : { subjects }) };
}

const emptyRoleRef: RoleRef = { apiGroup: rbacGroup, kind: '', name: '' };

const withGroup = <T extends { readonly apiGroup?: string }>(part: T): T =>
  withDefaults<T>(part.apiGroup === '' ? { ...part, apiGroup: rbacGroup } : part, { apiGroup: rbacGroup } as Partial<T>);

export function validateBinding(binding: AnyBinding, before: AnyBinding | undefined, roleKinds: readonly string[]): readonly FieldError[] {
  const { roleRef, subjects } = binding;
  const errors: FieldError[] = [];
  if (before === undefined || roleRef !== before.roleRef) checkRoleRef(errors, roleRef, roleKinds);
  if (subjects !== before?.subjects) {
    for (const [index, subject] of (subjects ?? []).entries()) {
      checkSubject(errors, `subjects[${index}]`, subject, roleKinds.includes('Role'));
    }
  }
  if (before !== undefined && !sameRoleRef(roleRef, before.roleRef)) {
    errors.push(invalidStruct('roleRef', 'rbac/v1.RoleRef', roleRef, 'cannot change roleRef'));
  }
  return errors;
}

export const sameRoleRef = (a: RoleRef, b: RoleRef): boolean => a.apiGroup === b.apiGroup && a.kind === b.kind && a.name === b.name;

function checkRoleRef(errors: FieldError[], { apiGroup, kind, name }: RoleRef, roleKinds: readonly string[]): void {
  if (apiGroup !== rbacGroup) errors.push(notSupported('roleRef.apiGroup', apiGroup, [rbacGroup]));
  if (!roleKinds.includes(kind)) errors.push(notSupported('roleRef.kind', kind, roleKinds));
  if (isAbsent(name) || name === '') errors.push(required('roleRef.name'));
  else for (const why of pathSegmentErrors(name)) errors.push(invalidValue('roleRef.name', name, why));
}

function checkSubject(errors: FieldError[], field: string, subject: Subject, namespaced: boolean): void {
  const { kind, name, namespace = '', apiGroup = '' } = subject;
  if (isAbsent(name) || name === '') errors.push(required(`${field}.name`));
  switch (kind) {
    case 'ServiceAccount':
      if (!isAbsent(name) && name !== '') {
        for (const why of dnsSubdomainErrors(name)) errors.push(invalidValue(`${field}.name`, name, why));
      }
      if (apiGroup !== '') errors.push(notSupported(`${field}.apiGroup`, apiGroup, ['']));
      // A RoleBinding's own namespace is meant when none is named.
      if (!namespaced && namespace === '') errors.push(required(`${field}.namespace`));
      return;
    case 'User':
    case 'Group':
      if (apiGroup !== rbacGroup) errors.push(notSupported(`${field}.apiGroup`, apiGroup, [rbacGroup]));
      return;
    default:
      errors.push(notSupported(`${field}.kind`, kind, ['ServiceAccount', 'User', 'Group']));
  }
}

const namesOf = ({ subjects }: AnyBinding, kind: string): string =>
  (subjects ?? [])
    .filter((subject) => subject.kind === kind)
    .map(({ name, namespace }) => (kind === 'ServiceAccount' ? `${namespace ?? ''}/${name}` : name))
    .join(', ');

export const bindingColumns: readonly Column<AnyBinding>[] = [
  nameColumn,
  { name: 'Role', type: 'string', description: 'The role that is granted.', cell: ({ roleRef }) => `${roleRef.kind}/${roleRef.name}` },
  ageColumn,
  { name: 'Users', type: 'string', description: 'Users it is granted to.', priority: 1, cell: (binding) => namesOf(binding, 'User') },
  { name: 'Groups', type: 'string', description: 'Groups it is granted to.', priority: 1, cell: (binding) => namesOf(binding, 'Group') },
  {
    name: 'ServiceAccounts',
    type: 'string',
    description: 'Service accounts it is granted to.',
    priority: 1,
    cell: (binding) => namesOf(binding, 'ServiceAccount'),
  },
];
