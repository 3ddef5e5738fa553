import type { Schema } from '../../../machinery/schema.ts';
import { durationPattern, schemaOf } from '../../flux.ts';

export const sourceKinds = ['OCIRepository', 'GitRepository', 'Bucket', 'ExternalArtifact'] as const;
export const deletionPolicies = ['MirrorPrune', 'Delete', 'WaitForTermination', 'Orphan'] as const;
export const substituteStrategies = ['WithVariables', 'Always'] as const;
export const buildMetadataOptions = ['originAnnotations', 'transformerAnnotations'] as const;
export const substituteKinds = ['Secret', 'ConfigMap'] as const;

/** Least and most characters of texts. */
export const affixLengths = [1, 200] as const;
export const namespaceLengths = [1, 63] as const;
export const nameLengths = [1, 253] as const;

/** Flux's published fields of Kustomization v1. */
export const kustomizationSchema: Schema = schema();

function schema(): Schema {
  const { text, matching, sized, flag, integer, choice, list, textMap, object, reference, kind, conditions } = schemaOf;
  const target = object(
    {
      annotationSelector: text(),
      group: text(),
      kind: text(),
      labelSelector: text(),
      name: text(),
      namespace: text(),
      version: text(),
    },
    { description: 'Objects that are meant.' },
  );
  const objectReference = { name: text(), namespace: text() };
  const spec = object(
    {
      buildMetadata: list(choice(buildMetadataOptions, 'Annotations to write.'), 'Annotations of kustomize about how objects were built.'),
      commonMetadata: object({ annotations: textMap(), labels: textMap() }, { description: 'Labels and annotations of every object.' }),
      components: list(text(), 'Paths of kustomize components.'),
      decryption: object(
        {
          provider: choice(['sops'], 'Encryption of the secrets.'),
          secretRef: reference('Secret with the keys.'),
          serviceAccountName: text(),
        },
        { required: ['provider'], description: 'Decryption of secrets.' },
      ),
      deletionPolicy: choice(deletionPolicies, 'Treatment of the objects when this Kustomization is deleted.'),
      dependsOn: list(object({ ...objectReference, readyExpr: text() }, { required: ['name'] }), 'Apps that have to be ready first.'),
      driftIgnoreRules: list(object({ paths: list(text()), target }, { required: ['paths'] }), 'Changes in the cluster to leave alone.'),
      force: { ...flag('Recreate objects whose fixed fields change.'), default: false },
      healthCheckExprs: list(
        object(
          { apiVersion: text(), current: text(), failed: text(), inProgress: text(), kind: text() },
          { required: ['apiVersion', 'current', 'kind'] },
        ),
        'Rules for the health of custom resources.',
      ),
      healthChecks: list(
        object({ ...objectReference, apiVersion: text(), kind: text() }, { required: ['kind', 'name'] }),
        'Objects to wait for.',
      ),
      ignore: list(object({ paths: list(text()), target }, { required: ['paths'] }), 'Changes in the cluster to leave alone.'),
      ignoreMissingComponents: flag('Leave out components that do not exist.'),
      images: list(object({ digest: text(), name: text(), newName: text(), newTag: text() }, { required: ['name'] }), 'Images to replace.'),
      interval: matching(durationPattern, 'Interval of drift correction.'),
      kubeConfig: object(
        {
          configMapRef: reference('ConfigMap with the access to the cluster.'),
          secretRef: object({ key: text(), name: text() }, { required: ['name'] }),
        },
        { description: 'Another cluster to apply to.' },
      ),
      namePrefix: sized(affixLengths, 'Put before every name.'),
      nameSuffix: sized(affixLengths, 'Put after every name.'),
      patches: list(object({ patch: text(), target }, { required: ['patch'] }), 'Patches to objects.'),
      path: text('Directory in the source; its root when empty.'),
      postBuild: object(
        {
          substitute: textMap('Variables.'),
          substituteStrategy: choice(substituteStrategies, 'Always substitutes also without any variable.'),
          substituteFrom: list(
            object(
              {
                kind: choice(substituteKinds, 'Source of the variables.'),
                name: sized(nameLengths),
                optional: { ...flag(), default: false },
              },
              { required: ['kind', 'name'] },
            ),
            'Objects with variables.',
          ),
        },
        { description: 'Variables to put into the result.' },
      ),
      prune: flag('Delete objects that left the source.'),
      retryInterval: matching(durationPattern, 'Wait after a failure.'),
      serviceAccountName: text('Account to act as.'),
      sourceRef: object(
        { ...objectReference, apiVersion: text(), kind: choice(sourceKinds, 'Kind of the source.') },
        { required: ['kind', 'name'], description: 'Source of the manifests.' },
      ),
      suspend: flag('Stop applying.'),
      targetNamespace: sized(namespaceLengths, 'Namespace of every object.'),
      timeout: matching(durationPattern, 'Longest time of one attempt.'),
      wait: flag('Wait for the health of every object.'),
    },
    { required: ['interval', 'prune', 'sourceRef'], description: 'What to apply.' },
  );
  const entry = object({ id: text(), v: text() }, { required: ['id', 'v'] });
  const attempt = object(
    {
      digest: text(),
      firstReconciled: { type: 'string', format: 'date-time' },
      lastReconciled: { type: 'string', format: 'date-time' },
      lastReconciledDuration: text(),
      lastReconciledStatus: text(),
      metadata: textMap(),
      totalReconciliations: integer(),
    },
    { required: ['digest', 'firstReconciled', 'lastReconciled', 'lastReconciledDuration', 'lastReconciledStatus', 'totalReconciliations'] },
  );
  const status = object(
    {
      conditions,
      history: list(attempt, 'Attempts, newest first.'),
      inventory: object({ entries: list(entry) }, { required: ['entries'], description: 'Objects that were applied.' }),
      lastAppliedOriginRevision: text(),
      lastAppliedRevision: text('Revision that was applied last.'),
      lastAttemptedRevision: text('Revision that was tried last.'),
      lastHandledReconcileAt: text('Last request by annotation that was answered.'),
      observedGeneration: integer(),
    },
    { description: 'What was applied.' },
  );
  return kind('An app: a path of a source that is applied.', { spec, status });
}
