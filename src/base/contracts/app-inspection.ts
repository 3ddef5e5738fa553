/**
 * The engine's knowledge that the page shows and the API does not store: states of objects and changes of commits. `cli/compose` hands it
 * over; neither side knows the other.
 */
export interface AppInspection {
  /** The health of each object of an app (`namespace/name`) by its inventory id; empty before the first pass over the app. */
  healthsOf(app: string): ReadonlyMap<string, ObjectHealth>;
  /**
   * The changes that a commit makes to the objects of an app, compared with its first parent. Values of Secrets are masked.
   *
   * @throws Error with a sentence for a person when the commit cannot be read or built
   */
  commitDiff(app: string, sha: string, signal: AbortSignal): Promise<readonly ObjectChangeDiff[]>;
  /** The object as YAML, without the fields of the server and with masked values of Secrets. `app` owns it. */
  textOf(object: InspectedObject, app: string): string;
}

export interface ObjectHealth {
  readonly status: 'Healthy' | 'Progressing' | 'Degraded' | 'Suspended' | 'Missing' | 'NoController' | 'Unknown';
  /** A sentence; empty when there is nothing to say. */
  readonly reason: string;
}

export interface ObjectChangeDiff {
  readonly action: 'create' | 'change' | 'replace' | 'prune';
  readonly kind: string;
  /** Empty for objects of the cluster. */
  readonly namespace: string;
  readonly name: string;
  /** `apps/web/deployment.yaml:1`; empty when no file names the object any more. */
  readonly file: string;
  /** Unified. */
  readonly diff: string;
}

/** As the API gives it. */
export interface InspectedObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}
