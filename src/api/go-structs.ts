import { readFileSync } from 'node:fs';
import { goJsonString } from '../machinery/go-text.ts';
import { unifiedDiff } from '../machinery/text-diff.ts';
import { isAbsent } from './copy-on-write.ts';

/**
 * Values as the real server shows them in messages: it prints its Go structures. These have Go's names, list every
 * field and have the pod's namespaces in its security context. `scripts/gen-go-structs.mjs` writes the table of their fields.
 */

/** `group/version.Type` of the table. */
export type GoStruct =
  | 'apps/v1.DaemonSetUpdateStrategy'
  | 'apps/v1.DeploymentStrategy'
  | 'apps/v1.RollingUpdateStatefulSetStrategy'
  | 'apps/v1.StatefulSetUpdateStrategy'
  | 'core/v1.EphemeralContainer'
  | 'core/v1.PersistentVolumeClaimSpec'
  | 'core/v1.PersistentVolumeSource'
  | 'core/v1.PodSpec'
  | 'core/v1.PodTemplateSpec'
  | 'core/v1.SeccompProfile'
  | 'core/v1.SecurityContext'
  | 'core/v1.PodResourceClaim'
  | 'core/v1.VolumeNodeAffinity'
  | 'batch/v1.PodFailurePolicy'
  | 'batch/v1.SuccessPolicy'
  | 'networking/v1.ParentReference'
  | 'node/v1.Overhead'
  | 'policy/v1.PodDisruptionBudgetSpec'
  | 'rbac/v1.RoleRef'
  | 'storage/v1.VolumeAttachmentSpec';

/** JSON of a value of the wire as the structure that the server holds it in. */
export const goStructJson = (struct: GoStruct, value: object | undefined): string => jsonText(goValueOf(struct, value), undefined);

/** Differences of two values of one type, line by line; empty for values of thousands of lines. */
export const goStructDiff = (struct: GoStruct, before: object, after: object): string =>
  unifiedDiff(jsonText(goValueOf(struct, before), ''), jsonText(goValueOf(struct, after), ''));

/** Fields by name, with what an absent one prints; see `scripts/gen-go-structs.mjs` for the forms. */
type Fields = Readonly<Record<string, string | number | boolean | null>>;

let table: Readonly<Record<string, Fields>> | undefined;

function fieldsOf(struct: string): Fields {
  table ??= JSON.parse(readFileSync(new URL('./go-structs.json', import.meta.url), 'utf8')) as Readonly<Record<string, Fields>>;
  const fields = table[struct];
  if (fields === undefined) throw new Error(`no fields are known of ${struct}`);
  return fields;
}

/** Members in the order in which they are printed: objects would put keys that are numbers first. */
type Members = readonly (readonly [string, Printable])[];
type Printable = string | number | boolean | null | readonly Printable[] | { readonly members: Members };

function goValueOf(struct: string, value: object | undefined): Printable {
  return isAbsent(value) ? null : { members: membersOf(struct, value as Readonly<Record<string, unknown>>) };
}

function membersOf(struct: string, given: Readonly<Record<string, unknown>>): Members {
  const value = struct === 'core/v1.PodSpec' ? withNamespacesInContext(given) : given;
  const byName = new Map(Object.entries(value).map(([key, member]) => [key.toLowerCase(), member]));
  const members: (readonly [string, Printable])[] = [];
  for (const [name, form] of Object.entries(fieldsOf(struct))) {
    const member = byName.get(name.toLowerCase());
    if (form === '+meta') {
      const metadata = wireValue(byName.get('metadata'));
      if (isMembers(metadata)) members.push(...metadata.members);
    } else if (typeof form === 'string' && form.startsWith('+')) {
      members.push(...membersOf(form.slice(1), value));
    } else {
      members.push([name, memberOf(form, member)]);
    }
  }
  return members;
}

function memberOf(form: string | number | boolean | null, member: unknown): Printable {
  if (typeof form !== 'string' || form === '') return isAbsent(member) ? form : wireValue(member);
  if (!form.startsWith('?')) return { members: membersOf(form, (member ?? {}) as Readonly<Record<string, unknown>>) };
  const struct = form.slice(1);
  if (Array.isArray(member)) return member.map((item: object) => goValueOf(struct, item));
  return goValueOf(struct, member as object | undefined);
}

/** A value that is printed as it is sent; keys in order, as of Go's maps. */
function wireValue(value: unknown): Printable {
  if (Array.isArray(value)) return value.map(wireValue);
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
    return { members: entries.map(([key, member]) => [key, wireValue(member)] as const) };
  }
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null;
}

const isMembers = (value: Printable): value is { readonly members: Members } =>
  typeof value === 'object' && value !== null && 'members' in value;

function withNamespacesInContext(spec: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { hostNetwork, hostPID, hostIPC, shareProcessNamespace, hostUsers } = spec;
  const context = { ...(spec.securityContext as object | undefined), hostNetwork, hostPID, hostIPC, shareProcessNamespace, hostUsers };
  return { ...spec, securityContext: context };
}

/** @param indent  of the line that the value begins in; undefined prints everything in one line */
function jsonText(value: Printable, indent: string | undefined): string {
  if (typeof value === 'string') return goJsonString(value);
  if (typeof value !== 'object' || value === null) return String(value);
  const [open, close] = isMembers(value) ? '{}' : '[]';
  const inner = indent === undefined ? undefined : `${indent} `;
  const parts = isMembers(value)
    ? value.members.map(([key, member]) => `${goJsonString(key)}:${inner === undefined ? '' : ' '}${jsonText(member, inner)}`)
    : value.map((item) => jsonText(item, inner));
  if (parts.length === 0 || inner === undefined) return `${open}${parts.join(',')}${close}`;
  return `${open}\n${inner}${parts.join(`,\n${inner}`)}\n${indent}${close}`;
}
