import { ageColumn, nameColumn } from '../../api/columns.ts';
import type { Column, KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { badRequest } from '../../machinery/status-error.ts';

/**
 * `meta.k8s.io/v1 Table`: what `kubectl get` prints. A kind's columns are data of its definition; objects of other kinds (a Scale, a
 * Binding) get name and age.
 */

export type IncludeObject = 'None' | 'Metadata' | 'Object';

export function includeObjectOf(query: URLSearchParams): IncludeObject {
  const value = query.get('includeObject') ?? '';
  switch (value) {
    case '':
    case 'Metadata':
      return 'Metadata';
    case 'None':
    case 'Object':
      return value;
    default:
      throw badRequest(`unrecognized includeObject value: ${JSON.stringify(value)}`);
  }
}

export interface ColumnDefinition {
  readonly name: string;
  readonly type: string;
  readonly format: string;
  readonly description: string;
  readonly priority: number;
}

export interface Row {
  readonly cells: readonly unknown[];
  readonly conditions?: readonly unknown[];
  readonly object: unknown;
}

const { format: _, ...plainNameColumn } = nameColumn;

const scaleColumns: readonly Column<KubeObject>[] = [
  plainNameColumn,
  { name: 'Desired', type: 'integer', description: 'Number of replicas asked for.', cell: (scale) => replicasOf(scale, 'spec') },
  { name: 'Available', type: 'integer', description: 'Number of replicas there are.', cell: (scale) => replicasOf(scale, 'status') },
  ageColumn,
];

const replicasOf = (scale: KubeObject, part: 'spec' | 'status'): number =>
  (scale as { readonly [key: string]: { readonly replicas?: number } | undefined } & KubeObject)[part]?.replicas ?? 0;

/** The columns for `object`, which may be the body of a subresource of `kind` and not of that kind itself. */
function columnsOf(kind: KindDefinition, object: KubeObject | undefined): readonly Column<KubeObject>[] {
  if (object === undefined || object.kind === kind.kind) return kind.columns;
  return object.kind === 'Scale' ? scaleColumns : [nameColumn, ageColumn];
}

export const columnDefinitionsOf = (kind: KindDefinition, object?: KubeObject): readonly ColumnDefinition[] =>
  columnsOf(kind, object).map(({ name, type, format = '', description, priority = 0 }) => ({ name, type, format, description, priority }));

export interface RowOptions {
  readonly kind: KindDefinition;
  readonly include: IncludeObject;
  /** Ages are counted from here; one moment for all rows of an answer. */
  readonly now: number;
}

export function rowOf(object: KubeObject, { kind, include, now }: RowOptions): Row {
  const context = { now };
  const conditions = object.kind === kind.kind ? (kind.rowConditions?.(object) ?? []) : [];
  return {
    cells: columnsOf(kind, object).map((column) => column.cell(object, context)),
    ...(conditions.length === 0 ? {} : { conditions }),
    object: includedOf(object, include),
  };
}

/** A bookmark has metadata only: its cells are those of an object without anything. Clients read nothing but the object of its row. */
export const bookmarkRowOf = (object: KubeObject, { kind, include, now }: RowOptions): Row => ({
  cells: kind.columns.map((column) => emptyCellOf(column, object, now)),
  object: includedOf(object, include),
});

function emptyCellOf(column: Column<KubeObject>, object: KubeObject, now: number): ReturnType<Column<KubeObject>['cell']> {
  try {
    return column.cell({ ...object, metadata: { ...object.metadata, name: '' } }, { now });
  } catch {
    // Columns may rely on what every stored object of the kind has.
    return column.type === 'string' || column.type === 'date' ? '<unknown>' : 0;
  }
}

function includedOf(object: KubeObject, include: IncludeObject): unknown {
  switch (include) {
    case 'None':
      return null;
    case 'Object':
      return object;
    case 'Metadata':
      return partialMetadataOf(object);
    default:
      return include satisfies never;
  }
}

export const partialMetadataOf = (object: KubeObject): KubeObject => ({
  kind: 'PartialObjectMetadata',
  apiVersion: 'meta.k8s.io/v1',
  metadata: object.metadata,
});
