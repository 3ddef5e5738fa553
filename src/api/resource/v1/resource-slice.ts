import type { NodeSelector as V1NodeSelector } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { immutable, required } from '../../field-errors.ts';
import { check, dnsSubdomainErrors } from '../../formats.ts';

export const resourceSlices: KindDefinition<ResourceSlice> = {
  group: 'resource.k8s.io',
  version: 'v1',
  resource: 'resourceslices',
  kind: 'ResourceSlice',
  namespaced: false,
  singular: 'resourceslice',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.resource.v1.ResourceSlice',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    nameColumn,
    { name: 'Node', type: 'string', description: 'Node of the devices.', cell: ({ spec }) => spec?.nodeName ?? '' },
    { name: 'Driver', type: 'string', description: 'Who offers them.', cell: ({ spec }) => spec?.driver ?? '' },
    { name: 'Pool', type: 'string', description: 'Pool of the devices.', cell: ({ spec }) => spec?.pool?.name ?? '' },
    ageColumn,
  ],
  selectableFields: {
    'spec.nodeName': ({ spec }) => spec?.nodeName ?? '',
    'spec.driver': ({ spec }) => spec?.driver ?? '',
  },
  deleteAnswer: 'object',
  shortFieldLabelError: true,
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    const { driver = '', pool, nodeName } = spec ?? {};
    if (driver === '') errors.push(required('spec.driver'));
    else check(errors, 'spec.driver', driver, dnsSubdomainErrors(driver));
    if ((pool?.name ?? '') === '') errors.push(required('spec.pool.name'));
    if (before !== undefined) {
      if (driver !== before.spec?.driver) errors.push(immutable('spec.driver', driver));
      if (pool?.name !== before.spec?.pool?.name) errors.push(immutable('spec.pool.name', pool?.name));
      if (nodeName !== before.spec?.nodeName) errors.push(immutable('spec.nodeName', nodeName));
    } else if (![nodeName, spec?.nodeSelector, spec?.allNodes, spec?.perDeviceNodeSelection].some((one) => !isAbsent(one))) {
      errors.push(required('spec', 'exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required'));
    }
    return errors;
  },
};

type NodeSelector = DeepReadonly<V1NodeSelector>;

export interface ResourceSlice extends KubeObject {
  readonly spec?: {
    readonly driver?: string;
    readonly pool?: { readonly name?: string; readonly generation?: number; readonly resourceSliceCount?: number };
    readonly nodeName?: string;
    readonly nodeSelector?: NodeSelector;
    readonly allNodes?: boolean;
    readonly perDeviceNodeSelection?: boolean;
    readonly devices?: readonly Device[];
  };
}

export interface Device {
  readonly name: string;
  /** Each has one of `int`, `bool`, `string` and `version`. A name without a domain belongs to the driver's. */
  readonly attributes?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly capacity?: Readonly<Record<string, { readonly value: string }>>;
  readonly nodeName?: string;
  readonly nodeSelector?: NodeSelector;
  readonly allNodes?: boolean;
  readonly taints?: readonly { readonly effect: string }[];
  readonly consumesCounters?: readonly unknown[];
  readonly allowMultipleAllocations?: boolean;
  readonly bindsToNode?: boolean;
  readonly bindingConditions?: readonly string[];
}
