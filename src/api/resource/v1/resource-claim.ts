import type { NodeSelector as V1NodeSelector } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { type DeepReadonly, deepEqual, type KubeObject, type ObjectMeta } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withField } from '../../copy-on-write.ts';
import { immutable } from '../../field-errors.ts';
import { type ClaimSpec, checkClaim, type DeviceConfig, defaultClaim } from './device-requests.ts';

export const resourceClaims: KindDefinition<ResourceClaim> = {
  group: 'resource.k8s.io',
  version: 'v1',
  resource: 'resourceclaims',
  kind: 'ResourceClaim',
  namespaced: true,
  singular: 'resourceclaim',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.resource.v1.ResourceClaim',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  statusKeeps: 'metadata',
  columns: [
    nameColumn,
    { name: 'State', type: 'string', description: 'Allocation and reservation of the devices.', cell: stateText },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'object',
  defaults: (claim) => (isAbsent(claim.spec) ? claim : withField(claim, 'spec', defaultClaim(claim.spec))),
  prepareForCreate: (claim) => ({ ...claim, status: {} }),
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before === undefined) checkClaim(errors, 'spec', spec);
    else if (!deepEqual(spec, before.spec)) errors.push(immutable('spec', spec));
    return errors;
  },
};

export const resourceClaimTemplates: KindDefinition<ResourceClaimTemplate> = {
  group: 'resource.k8s.io',
  version: 'v1',
  resource: 'resourceclaimtemplates',
  kind: 'ResourceClaimTemplate',
  namespaced: true,
  singular: 'resourceclaimtemplate',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.resource.v1.ResourceClaimTemplate',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [],
  columns: [nameColumn, ageColumn],
  selectableFields: {},
  deleteAnswer: 'object',
  defaults: (template) => {
    const { spec } = template;
    if (isAbsent(spec?.spec)) return template;
    return withField(template, 'spec', withField(spec, 'spec', defaultClaim(spec.spec)));
  },
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before === undefined) checkClaim(errors, 'spec.spec', spec?.spec);
    else if (!deepEqual(spec, before.spec)) errors.push(immutable('spec', spec));
    return errors;
  },
};

function stateText({ metadata, status }: ResourceClaim): string {
  const isDeleted = metadata.deletionTimestamp !== undefined;
  const words = isDeleted ? ['deleted'] : [];
  if (isAbsent(status?.allocation)) {
    if (!isDeleted) words.push('pending');
  } else {
    words.push('allocated');
    if ((status.reservedFor ?? []).length > 0) words.push('reserved');
  }
  return words.join(',');
}

export interface ResourceClaim extends KubeObject {
  readonly spec?: ClaimSpec;
  readonly status?: {
    readonly allocation?: Allocation | null;
    /** Its users. They are pods here; `resource` and `apiGroup` say so. */
    readonly reservedFor?: readonly ClaimUser[];
    /** Reports of drivers on the devices of the allocation. */
    readonly devices?: readonly object[];
  };
}

export interface ClaimUser {
  readonly apiGroup?: string;
  readonly resource: string;
  readonly name: string;
  readonly uid: string;
}

/** Devices of a claim, and the nodes that reach all of them: absent, any does. */
export interface Allocation {
  readonly devices?: { readonly results?: readonly AllocatedDevice[]; readonly config?: readonly AllocatedConfig[] };
  readonly nodeSelector?: DeepReadonly<V1NodeSelector>;
}

export interface AllocatedDevice {
  readonly request: string;
  readonly driver: string;
  readonly pool: string;
  readonly device: string;
  readonly adminAccess?: boolean;
}

type AllocatedConfig = DeviceConfig & { readonly source: 'FromClass' | 'FromClaim' };

/** Held by a claim with an allocation: its devices are not to be given away before nobody uses them. */
export const claimFinalizer = 'resource.kubernetes.io/delete-protection';

export interface ResourceClaimTemplate extends KubeObject {
  readonly spec?: {
    readonly metadata?: Pick<ObjectMeta, 'labels' | 'annotations'>;
    readonly spec?: ClaimSpec;
  };
}
