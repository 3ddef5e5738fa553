import { holdOf } from '../../../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import type { Expressions } from '../observe/expressions.ts';
import { sourceKeyOf } from '../plan/app-spec.ts';
import { messageOf } from '../plan/sync-failure.ts';

/** The first dependency that keeps the app waiting, as text. */
export function unreadyDependency(
  app: Kustomization,
  revision: KnownRevision,
  {
    appOf,
    expressions,
    absent,
  }: {
    readonly expressions: Expressions;
    /** State of a missing app. */
    readonly absent: string;
    appOf(key: string): Kustomization | undefined;
  },
): string | undefined {
  for (const { name, namespace, readyExpr } of app.spec.dependsOn ?? []) {
    const key = `${namespace ?? app.metadata.namespace}/${name}`;
    const dependency = appOf(key);
    const isReady = (): boolean => {
      if (readyExpr === undefined || dependency === undefined) return isReadyAt(dependency, app, revision);
      return expressions.isReady(readyExpr, { self: app, dep: dependency });
    };
    try {
      if (!isReady()) return `dependency '${key}' ${dependency === undefined ? absent : 'is not ready'}`;
    } catch (err) {
      return `dependency '${key}' is not ready: readyExpr: ${messageOf(err)}`;
    }
  }
  return undefined;
}

/** A dependency counts when it is ready at its newest spec and, coming from the same source, at the same revision. */
function isReadyAt(dependency: Kustomization | undefined, app: Kustomization, { commit }: KnownRevision): boolean {
  if (dependency === undefined) return false;
  const ready = dependency.status?.conditions?.find(({ type }) => type === 'Ready');
  if (ready?.status !== 'True' || dependency.status?.observedGeneration !== dependency.metadata.generation) return false;
  // One that is held where it is will not come to the newest revision.
  if (holdOf(dependency) !== undefined || holdOf(app) !== undefined) return true;
  return sourceKeyOf(dependency) !== sourceKeyOf(app) || dependency.status?.lastAppliedRevision === commit.revision;
}
