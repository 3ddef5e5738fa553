import type { KindDefinition } from '../../../machinery/kind.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import type { Condition, LocalObjectReference } from '../../flux.ts';

/** Flux's GitRepository: which repository and ref to follow. @see https://fluxcd.io/flux/components/source/gitrepositories/ */
export const gitRepositories: KindDefinition<GitRepository> = {
  group: 'source.toolkit.fluxcd.io',
  version: 'v1',
  resource: 'gitrepositories',
  kind: 'GitRepository',
  namespaced: true,
  singular: 'gitrepository',
  shortNames: ['gitrepo'],
  categories: ['all', 'fluxcd', 'fluxcd-sources'],
  schemaName: 'io.fluxcd.toolkit.source.v1.GitRepository',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [nameColumn, ageColumn],
  selectableFields: {},
  deleteAnswer: 'status',
};

export interface GitRepository extends KubeObject {
  readonly spec: GitRepositorySpec;
  readonly status?: GitRepositoryStatus;
}

export interface GitRepositorySpec {
  readonly url: string;
  readonly secretRef?: LocalObjectReference;
  readonly provider?: 'generic' | 'aws' | 'azure' | 'github';
  readonly serviceAccountName?: string;
  /** Go duration: `10s`, `1m0s`. */
  readonly interval: string;
  readonly timeout?: string;
  readonly ref?: GitRepositoryRef;
  readonly verify?: { readonly mode?: 'head' | 'HEAD' | 'Tag' | 'TagAndHEAD'; readonly secretRef: LocalObjectReference };
  readonly proxySecretRef?: LocalObjectReference;
  /** Patterns in `.gitignore` format that replace the default exclusions. */
  readonly ignore?: string;
  readonly suspend?: boolean;
  readonly recurseSubmodules?: boolean;
  readonly include?: readonly GitRepositoryInclude[];
  readonly sparseCheckout?: readonly string[];
}

/** What to follow; the first of commit, name, semver, tag, branch that is set. Nothing set: branch `master`. */
export interface GitRepositoryRef {
  readonly branch?: string;
  readonly tag?: string;
  readonly semver?: string;
  /** A full reference name: `refs/heads/main`. */
  readonly name?: string;
  readonly commit?: string;
}

export interface GitRepositoryInclude {
  readonly repository: LocalObjectReference;
  readonly fromPath?: string;
  readonly toPath?: string;
}

export interface GitRepositoryStatus {
  readonly observedGeneration?: number;
  readonly conditions?: readonly Condition[];
  readonly artifact?: Artifact;
  readonly includedArtifacts?: readonly Artifact[];
  readonly observedIgnore?: string;
  readonly observedRecurseSubmodules?: boolean;
  readonly observedInclude?: readonly GitRepositoryInclude[];
  readonly observedSparseCheckout?: readonly string[];
  readonly sourceVerificationMode?: string;
  readonly lastHandledReconcileAt?: string;
}

/** The tree that was last fetched. */
export interface Artifact {
  readonly path: string;
  readonly url: string;
  /** `main@sha1:40 digits`; a bare commit is `sha1:…`. */
  readonly revision: string;
  /** `sha256:…` of the content. */
  readonly digest?: string;
  readonly lastUpdateTime: string;
  readonly size?: number;
  readonly metadata?: Readonly<Record<string, string>>;
}
