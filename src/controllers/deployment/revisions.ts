import type { Deployment } from '../../api/apps/v1/deployment.ts';
import type { ReplicaSet } from '../../api/apps/v1/replica-set.ts';
import { annotations } from '../../api/well-known.ts';
import { revisionOf } from '../../lifecycle/deployment-templates.ts';

type Annotations = Readonly<Record<string, string>>;

/** Annotations of a Deployment that mean something else on its ReplicaSets. */
const notCopied: ReadonlySet<string> = new Set([
  annotations.lastAppliedConfiguration,
  annotations.deploymentRevision,
  annotations.deploymentRevisionHistory,
  annotations.deploymentDesiredReplicas,
  annotations.deploymentMaxReplicas,
  'deprecated.deployment.rollback.to',
]);

/** Earlier revisions that the annotation keeps, as characters; older ones are cut off. */
const maxHistoryLength = 2_000;

/** The revision that the new ReplicaSet has to have: above all others. */
export const nextRevision = (oldReplicaSets: readonly ReplicaSet[]): number =>
  oldReplicaSets.reduce((newest, replicaSet) => Math.max(newest, revisionOf(replicaSet)), 0) + 1;

/**
 * The annotations of the new ReplicaSet: the Deployment's own, and its revision. A ReplicaSet that is used again gets a new revision and
 * remembers the old one. Gives `existing` when nothing changes.
 */
export function annotationsFor(deployment: Deployment, revision: number, existing: Annotations = {}): Annotations {
  const wanted: Record<string, string> = { ...existing };
  for (const [name, value] of Object.entries(deployment.metadata.annotations ?? {})) if (!notCopied.has(name)) wanted[name] = value;
  const known = Number(existing[annotations.deploymentRevision] ?? 0) || 0;
  if (known < revision) {
    wanted[annotations.deploymentRevision] = String(revision);
    if (known > 0) {
      const history = existing[annotations.deploymentRevisionHistory];
      wanted[annotations.deploymentRevisionHistory] = (history === undefined ? String(known) : `${history},${known}`).slice(
        -maxHistoryLength,
      );
    }
  }
  const names = Object.keys(wanted);
  const same = names.length === Object.keys(existing).length && names.every((name) => wanted[name] === existing[name]);
  return same ? existing : wanted;
}

/** Old, empty ReplicaSets beyond `revisionHistoryLimit`, lowest revision first. */
export function surplusHistory(deployment: Deployment, oldReplicaSets: readonly ReplicaSet[]): readonly ReplicaSet[] {
  const kept = oldReplicaSets.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const surplus = kept.length - (deployment.spec.revisionHistoryLimit ?? 10);
  if (surplus <= 0) return [];
  return kept
    .toSorted((a, b) => revisionOf(a) - revisionOf(b))
    .slice(0, surplus)
    .filter(
      ({ metadata, spec, status }) =>
        (status?.replicas ?? 0) === 0 && (spec.replicas ?? 0) === 0 && (metadata.generation ?? 0) <= (status?.observedGeneration ?? 0),
    );
}
