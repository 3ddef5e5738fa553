import type { KindDefinition } from '../../../machinery/kind.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import type { Condition, LocalObjectReference } from '../../flux.ts';

/** Flux's Kustomization: an app, that is one path of a source that is applied. @see https://fluxcd.io/flux/components/kustomize/kustomizations/ */
export const kustomizations: KindDefinition<Kustomization> = {
  group: 'kustomize.toolkit.fluxcd.io',
  version: 'v1',
  resource: 'kustomizations',
  kind: 'Kustomization',
  namespaced: true,
  singular: 'kustomization',
  shortNames: ['ks'],
  categories: ['all', 'fluxcd', 'fluxcd-appliers'],
  schemaName: 'io.fluxcd.toolkit.kustomize.v1.Kustomization',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [nameColumn, ageColumn],
  selectableFields: {},
  deleteAnswer: 'status',
};

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
  readonly driftIgnoreRules?: readonly { readonly paths: readonly string[]; readonly target?: PatchTarget }[];
}

/** Where the tree comes from; `namespace` defaults to the Kustomization's own. */
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
