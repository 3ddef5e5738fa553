import type { KindDefinition } from '../../../machinery/kind.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { invalidValue, required } from '../../field-errors.ts';
import {
  type Condition,
  checkChoice,
  checkPattern,
  checkReference,
  durationPattern,
  initialStatus,
  type LocalObjectReference,
  statusColumns,
  timeoutPattern,
} from '../../flux.ts';
import { gitRepositorySchema, providers, serviceAccountRule, urlPattern, verificationModes } from './git-repository-schema.ts';

const schemaName = 'io.fluxcd.toolkit.source.v1.GitRepository';

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
  schemaName,
  schemas: { [schemaName]: gitRepositorySchema },
  verbs: allVerbs,
  hasGeneration: true,
  statusKeeps: 'metadata',
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [nameColumn, { name: 'URL', type: 'string', description: '', cell: ({ spec }) => spec.url }, ...statusColumns],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (repository, before) => {
    if (isAbsent(repository.spec) || repository.spec === before?.spec) return repository;
    let spec = withDefaults(repository.spec, { timeout: '60s' });
    if (!isAbsent(spec.verify)) spec = withField(spec, 'verify', withDefaults(spec.verify, { mode: 'HEAD' }));
    return withField(repository, 'spec', spec);
  },
  prepareForCreate: (repository) => ({ ...repository, status: initialStatus }),
  validate: (repository, before) => (before !== undefined && repository.spec === before.spec ? [] : validateSpec(repository.spec)),
};

function validateSpec(spec: GitRepositorySpec | undefined): readonly FieldError[] {
  const errors: FieldError[] = [];
  if (isAbsent(spec)) return [required('spec')];
  checkPattern(errors, 'spec.interval', spec.interval, { pattern: durationPattern, isRequired: true });
  checkPattern(errors, 'spec.url', spec.url, { pattern: urlPattern, isRequired: true });
  checkPattern(errors, 'spec.timeout', spec.timeout, { pattern: timeoutPattern });
  checkChoice(errors, 'spec.provider', spec.provider, { choices: providers });
  checkReference(errors, 'spec.secretRef', spec.secretRef);
  checkReference(errors, 'spec.proxySecretRef', spec.proxySecretRef);
  if (!isAbsent(spec.verify)) {
    checkChoice(errors, 'spec.verify.mode', spec.verify.mode, { choices: verificationModes });
    if (isAbsent(spec.verify.secretRef)) errors.push(required('spec.verify.secretRef'));
    checkReference(errors, 'spec.verify.secretRef', spec.verify.secretRef);
  }
  for (const [index, { repository }] of (spec.include ?? []).entries()) {
    if (isAbsent(repository)) errors.push(required(`spec.include[${index}].repository`));
    checkReference(errors, `spec.include[${index}].repository`, repository);
  }
  if (!isAbsent(spec.serviceAccountName) && spec.provider !== 'azure' && spec.provider !== 'aws') {
    // The form of a rule in CEL: the value is shown by its type.
    errors.push({
      ...invalidValue('spec', undefined, ''),
      message: `Invalid value: ${serviceAccountRule.message}`,
    });
  }
  return errors;
}

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

/** Ref to follow: the first of commit, name, semver, tag, branch that is set. Nothing set: branch `master`. */
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
