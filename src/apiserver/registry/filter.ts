import type { KindDefinition } from '../../machinery/kind.ts';
import { type KubeObject, keyOf } from '../../machinery/object.ts';
import { type FieldSelector, type LabelSelector, parseFieldSelector, parseLabelSelector } from '../../machinery/selector.ts';
import { badRequest } from '../../machinery/status-error.ts';

/** The field that watches of pods are indexed by, beside name and namespace: every agent asks for the pods of its node. */
export const indexedField = 'spec.nodeName';

/**
 * The objects of a kind that a request selects. The parts that an index answers are removed from the selectors. An
 * object that is found by `name`, `indexed` and `namespace` needs no check unless `predicate` says so.
 */
export interface Filter {
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  /** Value of `indexedField`. */
  readonly indexed: string | undefined;
  readonly predicate: ((object: KubeObject) => boolean) | undefined;
  /** True when the client gave a selector: such lists have no remainingItemCount. */
  readonly selective: boolean;
}

export interface FilterRequest {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

/** @throws StatusError `BadRequest` for a selector that cannot be read, or a field the kind does not select by */
export function filterOf(kind: KindDefinition, { namespace, labelSelector = '', fieldSelector = '' }: FilterRequest): Filter {
  if (labelSelector === '' && fieldSelector === '') {
    return { namespace, name: undefined, indexed: undefined, predicate: undefined, selective: false };
  }
  const labels = labelSelector === '' ? undefined : parseLabelSelector(labelSelector);
  const fields = fieldSelector === '' ? undefined : parseFieldSelector(fieldSelector);
  if (fields !== undefined) checkFields(kind, fields);
  const name = fields?.exactValueOf('metadata.name');
  const indexed = fields?.exactValueOf(indexedField);
  const scope = kind.namespaced ? (namespace ?? fields?.exactValueOf('metadata.namespace')) : undefined;
  return { namespace: scope, name, indexed, predicate: predicateOf(kind, { labels, fields, namespace: scope }), selective: true };
}

function checkFields(kind: KindDefinition, fields: FieldSelector): void {
  for (const { field } of fields.requirements) {
    if (field === 'metadata.name' || field === 'metadata.namespace' || Object.hasOwn(kind.selectableFields, field)) continue;
    throw badRequest(
      kind.shortFieldLabelError === true
        ? `field label not supported: ${field}`
        : `"${field}" is not a known field selector: only "metadata.name", "metadata.namespace"`,
    );
  }
}

interface Selectors {
  readonly labels: LabelSelector | undefined;
  readonly fields: FieldSelector | undefined;
  readonly namespace: string | undefined;
}

function predicateOf(kind: KindDefinition, { labels, fields, namespace }: Selectors): ((object: KubeObject) => boolean) | undefined {
  // A requirement that an index answers is left out; one that contradicts it (two names) stays and matches nothing.
  const indexedFields = new Map([
    ['metadata.name', fields?.exactValueOf('metadata.name')],
    [indexedField, fields?.exactValueOf(indexedField)],
    ['metadata.namespace', namespace],
  ]);
  const rest =
    fields?.requirements.filter(
      ({ field, operator, value }) => operator !== '=' || !indexedFields.has(field) || indexedFields.get(field) !== value,
    ) ?? [];
  if (rest.length === 0) return labels === undefined ? undefined : (object) => labels.matches(object.metadata.labels);
  return (object) =>
    (labels === undefined || labels.matches(object.metadata.labels)) &&
    rest.every(({ field, operator, value }) => (fieldValueOf(kind, object, field) === value) === (operator === '='));
}

export function fieldValueOf(kind: KindDefinition, object: KubeObject, field: string): string {
  if (field === 'metadata.name') return object.metadata.name;
  if (field === 'metadata.namespace') return object.metadata.namespace ?? '';
  return kind.selectableFields[field]?.(object) ?? '';
}

/** True when `object` passes all of `filter`, without the help of an index. */
export function matches(kind: KindDefinition, filter: Filter, object: KubeObject): boolean {
  const { namespace, name, indexed, predicate } = filter;
  return (
    (namespace === undefined || object.metadata.namespace === namespace) &&
    (name === undefined || object.metadata.name === name) &&
    (indexed === undefined || fieldValueOf(kind, object, indexedField) === indexed) &&
    (predicate === undefined || predicate(object))
  );
}

/** The key of an exact name and scope, when they name one object. */
export function exactKeyOf(kind: KindDefinition, { namespace, name }: Filter): string | undefined {
  if (name === undefined) return undefined;
  if (!kind.namespaced) return name;
  return namespace === undefined ? undefined : keyOf({ metadata: { namespace, name } });
}
