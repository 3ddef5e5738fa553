import type { Schema } from '../../../machinery/schema.ts';
import { durationPattern, schemaOf, timeoutPattern } from '../../flux.ts';

export const providers = ['generic', 'aws', 'azure', 'github'] as const;
export const verificationModes = ['head', 'HEAD', 'Tag', 'TagAndHEAD'] as const;

export const urlPattern = '^(http|https|ssh)://.*$';
export const serviceAccountRule = {
  rule: "!has(self.serviceAccountName) || (has(self.provider) && self.provider in ['azure', 'aws'])",
  message: "serviceAccountName can only be set when provider is 'azure' or 'aws'",
} as const;

/** Flux's published fields of GitRepository v1. */
export const gitRepositorySchema: Schema = schema();

function schema(): Schema {
  const { text, matching, flag, integer, choice, list, textMap, object, reference, kind, conditions } = schemaOf;
  const include = object(
    { repository: reference('Repository to include.'), fromPath: text(), toPath: text() },
    { required: ['repository'] },
  );
  const artifact = object(
    {
      digest: text('Digest of the content.'),
      lastUpdateTime: { type: 'string', format: 'date-time' },
      metadata: textMap(),
      path: text(),
      revision: text('Branch or tag, and commit.'),
      size: integer(),
      url: text(),
    },
    { required: ['lastUpdateTime', 'path', 'revision', 'url'], description: 'The tree that was fetched last.' },
  );
  const fields = object(
    {
      ignore: text('Patterns of paths to leave out, in .gitignore format.'),
      include: list(include, 'Repositories whose trees are put into this one.'),
      interval: matching(durationPattern, 'Interval between two looks for new commits.'),
      provider: choice(providers, 'How to authenticate.'),
      proxySecretRef: reference('Secret with the proxy to use.'),
      recurseSubmodules: flag('Also fetch submodules.'),
      ref: object(
        { branch: text(), commit: text(), name: text('Full reference name.'), semver: text('Range of version tags.'), tag: text() },
        { description: 'Ref to follow; branch master when empty.' },
      ),
      secretRef: reference('Secret with the credentials.'),
      serviceAccountName: text('Account to authenticate as.'),
      sparseCheckout: list(text(), 'Directories to fetch; all when empty.'),
      suspend: flag('Stop looking for commits.'),
      timeout: { ...matching(timeoutPattern, 'Longest time of one Git operation.'), default: '60s' },
      url: matching(urlPattern, 'Address of the repository.'),
      verify: object(
        {
          mode: { ...choice(verificationModes, 'Objects that must be signed.'), default: 'HEAD' },
          secretRef: reference('Secret with the public keys.'),
        },
        { required: ['secretRef'], description: 'Signatures to require.' },
      ),
    },
    { required: ['interval', 'url'], description: 'What to fetch.' },
  );
  const spec: Schema = { ...fields, 'x-kubernetes-validations': [serviceAccountRule] };
  const status = object(
    {
      artifact,
      conditions,
      includedArtifacts: list(artifact),
      lastHandledReconcileAt: text('Last request by annotation that was answered.'),
      observedGeneration: integer(),
      observedIgnore: text(),
      observedInclude: list(include),
      observedRecurseSubmodules: flag(),
      observedSparseCheckout: list(text()),
      sourceVerificationMode: text(),
    },
    { description: 'What was fetched.' },
  );
  return kind('A Git repository and the ref of it that is followed.', { spec, status });
}
