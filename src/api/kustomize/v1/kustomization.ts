import type { KindDefinition } from '../../../machinery/kind.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, mapShared, withDefaults, withField } from '../../copy-on-write.ts';
import { required } from '../../field-errors.ts';
import {
  type Condition,
  checkChoice,
  checkLength,
  checkPattern,
  checkReference,
  durationPattern,
  initialStatus,
  type LocalObjectReference,
  statusColumns,
} from '../../flux.ts';
import {
  affixLengths,
  buildMetadataOptions,
  deletionPolicies,
  kustomizationSchema,
  nameLengths,
  namespaceLengths,
  sourceKinds,
  substituteKinds,
  substituteStrategies,
} from './kustomization-schema.ts';

const schemaName = 'io.fluxcd.toolkit.kustomize.v1.Kustomization';

/**
 * Flux's Kustomization, an app: one path of a source that is applied.
 *
 * @see https://fluxcd.io/flux/components/kustomize/kustomizations/
 */
export const kustomizations: KindDefinition<Kustomization> = {
  group: 'kustomize.toolkit.fluxcd.io',
  version: 'v1',
  resource: 'kustomizations',
  kind: 'Kustomization',
  namespaced: true,
  singular: 'kustomization',
  shortNames: ['ks'],
  categories: [],
  schemaName,
  schemas: { [schemaName]: kustomizationSchema },
  verbs: allVerbs,
  hasGeneration: true,
  statusKeeps: 'metadata',
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [nameColumn, ...statusColumns],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (kustomization, before) => {
    if (isAbsent(kustomization.spec) || kustomization.spec === before?.spec) return kustomization;
    let spec = withDefaults(kustomization.spec, { force: false });
    const { postBuild } = spec;
    if (!isAbsent(postBuild?.substituteFrom)) {
      const substituteFrom = mapShared(postBuild.substituteFrom, (source) => withDefaults(source, { optional: false }));
      spec = withField(spec, 'postBuild', withField(postBuild, 'substituteFrom', substituteFrom));
    }
    return withField(kustomization, 'spec', spec);
  },
  prepareForCreate: (kustomization) => ({ ...kustomization, status: initialStatus }),
  validate: (kustomization, before) => (before !== undefined && kustomization.spec === before.spec ? [] : validateSpec(kustomization.spec)),
};

function validateSpec(spec: KustomizationSpec | undefined): readonly FieldError[] {
  const errors: FieldError[] = [];
  if (isAbsent(spec)) return [required('spec')];
  checkPattern(errors, 'spec.interval', spec.interval, { pattern: durationPattern, isRequired: true });
  checkPattern(errors, 'spec.retryInterval', spec.retryInterval, { pattern: durationPattern });
  checkPattern(errors, 'spec.timeout', spec.timeout, { pattern: durationPattern });
  if (isAbsent(spec.prune)) errors.push(required('spec.prune'));
  if (isAbsent(spec.sourceRef)) errors.push(required('spec.sourceRef'));
  else {
    checkChoice(errors, 'spec.sourceRef.kind', spec.sourceRef.kind, { choices: sourceKinds, isRequired: true });
    checkReference(errors, 'spec.sourceRef', spec.sourceRef);
  }
  checkChoice(errors, 'spec.deletionPolicy', spec.deletionPolicy, { choices: deletionPolicies });
  checkLength(errors, 'spec.targetNamespace', spec.targetNamespace, namespaceLengths);
  checkLength(errors, 'spec.namePrefix', spec.namePrefix, affixLengths);
  checkLength(errors, 'spec.nameSuffix', spec.nameSuffix, affixLengths);
  for (const [index, dependency] of (spec.dependsOn ?? []).entries()) checkReference(errors, `spec.dependsOn[${index}]`, dependency);
  if (!isAbsent(spec.decryption)) {
    checkChoice(errors, 'spec.decryption.provider', spec.decryption.provider, { choices: ['sops'], isRequired: true });
    checkReference(errors, 'spec.decryption.secretRef', spec.decryption.secretRef);
  }
  checkChoice(errors, 'spec.postBuild.substituteStrategy', spec.postBuild?.substituteStrategy, { choices: substituteStrategies });
  for (const [index, option] of (spec.buildMetadata ?? []).entries())
    checkChoice(errors, `spec.buildMetadata[${index}]`, option, { choices: buildMetadataOptions });
  for (const [index, source] of (spec.postBuild?.substituteFrom ?? []).entries()) {
    const field = `spec.postBuild.substituteFrom[${index}]`;
    checkChoice(errors, `${field}.kind`, source.kind, { choices: substituteKinds, isRequired: true });
    checkReference(errors, field, source);
    checkLength(errors, `${field}.name`, source.name, nameLengths);
  }
  for (const [index, check] of (spec.healthChecks ?? []).entries()) {
    if (isAbsent(check.kind)) errors.push(required(`spec.healthChecks[${index}].kind`));
    checkReference(errors, `spec.healthChecks[${index}]`, check);
  }
  for (const [index, { patch }] of (spec.patches ?? []).entries()) {
    if (isAbsent(patch)) errors.push(required(`spec.patches[${index}].patch`));
  }
  for (const [index, image] of (spec.images ?? []).entries()) checkReference(errors, `spec.images[${index}]`, image);
  return errors;
}

export interface Kustomization extends KubeObject {
  readonly spec: KustomizationSpec;
  readonly status?: KustomizationStatus;
}

export interface KustomizationSpec {
  readonly commonMetadata?: {
    readonly annotations?: Readonly<Record<string, string>>;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly dependsOn?: readonly DependencyReference[];
  readonly decryption?: {
    readonly provider: 'sops';
    readonly serviceAccountName?: string;
    readonly secretRef?: LocalObjectReference;
  };
  /** Go duration: `10m`, `1m30s`. */
  readonly interval: string;
  readonly retryInterval?: string;
  readonly kubeConfig?: {
    readonly configMapRef?: LocalObjectReference;
    readonly secretRef?: { readonly name: string; readonly key?: string };
  };
  readonly path?: string;
  readonly postBuild?: {
    readonly substitute?: Readonly<Record<string, string>>;
    readonly substituteFrom?: readonly SubstituteReference[];
    /** `WithVariables`, the default, leaves objects as they are when there is no variable at all. */
    readonly substituteStrategy?: 'WithVariables' | 'Always';
  };
  readonly prune: boolean;
  readonly deletionPolicy?: 'MirrorPrune' | 'Delete' | 'WaitForTermination' | 'Orphan';
  readonly healthChecks?: readonly NamespacedObjectKindReference[];
  readonly namePrefix?: string;
  readonly nameSuffix?: string;
  readonly patches?: readonly { readonly patch: string; readonly target?: PatchTarget }[];
  readonly images?: readonly {
    readonly name: string;
    readonly newName?: string;
    readonly newTag?: string;
    readonly digest?: string;
  }[];
  readonly serviceAccountName?: string;
  readonly sourceRef: SourceReference;
  readonly suspend?: boolean;
  readonly targetNamespace?: string;
  readonly timeout?: string;
  readonly force?: boolean;
  readonly wait?: boolean;
  readonly components?: readonly string[];
  readonly ignoreMissingComponents?: boolean;
  readonly healthCheckExprs?: readonly {
    readonly apiVersion: string;
    readonly kind: string;
    readonly current: string;
    readonly inProgress?: string;
    readonly failed?: string;
  }[];
  readonly ignore?: readonly IgnoreRule[];
  /** The name of `ignore` before Flux released it. */
  readonly driftIgnoreRules?: readonly IgnoreRule[];
  /** Wins over what the kustomization itself has. */
  readonly buildMetadata?: readonly ('originAnnotations' | 'transformerAnnotations')[];
}

/** Fields, by JSON pointer, that others may change. */
export interface IgnoreRule {
  readonly paths: readonly string[];
  readonly target?: PatchTarget;
}

/** Source of the tree; `namespace` defaults to the Kustomization's own. */
export interface SourceReference {
  readonly apiVersion?: string;
  readonly kind: 'OCIRepository' | 'GitRepository' | 'Bucket' | 'ExternalArtifact';
  readonly name: string;
  readonly namespace?: string;
}

export interface DependencyReference {
  readonly name: string;
  readonly namespace?: string;
  readonly readyExpr?: string;
}

export interface SubstituteReference {
  readonly kind: 'Secret' | 'ConfigMap';
  readonly name: string;
  readonly optional?: boolean;
}

export interface NamespacedObjectKindReference {
  readonly apiVersion?: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

/** Selects objects of the build; every field that is set must match, names as anchored regular expressions. */
export interface PatchTarget {
  readonly group?: string;
  readonly version?: string;
  readonly kind?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly annotationSelector?: string;
  readonly labelSelector?: string;
}

export interface KustomizationStatus {
  readonly lastHandledReconcileAt?: string;
  readonly observedGeneration?: number;
  readonly conditions?: readonly Condition[];
  readonly lastAppliedRevision?: string;
  readonly lastAppliedOriginRevision?: string;
  readonly lastAttemptedRevision?: string;
  readonly inventory?: ResourceInventory;
  readonly history?: readonly HistorySnapshot[];
}

export interface ResourceInventory {
  readonly entries: readonly InventoryEntry[];
}

export interface InventoryEntry {
  /** `namespace_name_group_Kind`; namespace and group are empty where there is none. */
  readonly id: string;
  /** Version of the API it was applied in. */
  readonly v: string;
}

export interface HistorySnapshot {
  readonly digest: string;
  readonly firstReconciled: string;
  readonly lastReconciled: string;
  readonly lastReconciledDuration: string;
  readonly lastReconciledStatus: string;
  readonly totalReconciliations: number;
  readonly metadata?: Readonly<Record<string, string>>;
}
