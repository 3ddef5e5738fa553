import type { BuildResult } from '../../manifests/manifest.ts';

/** The revision of an app that is in force. */
export interface InForce {
  /** The build that is in force as a whole. */
  readonly build: BuildResult | undefined;
  /** `main@sha1:…` */
  readonly revision: string;
  /** Root tree of the revision: an included repository changes that alone. */
  readonly tree: string;
  readonly sha: string;
  /** Empty after a start until a first pass has compared. */
  readonly digest: string;
  /** -1 when a variable has another value than the sync read. */
  readonly generation: number;
  /** `reconcile.fluxcd.io/requestedAt` that was served. */
  readonly handledRequest: string | undefined;
  /** When the revision was seen and applied; milliseconds since the epoch. 0: not in this process. */
  readonly seenAt: number;
  readonly appliedAt: number;
  /** When the app began to wait for the health of what is in force; 0 before. */
  readonly waitsSince: number;
  readonly isRollback: boolean;
}

export const nothingInForce: InForce = {
  build: undefined,
  revision: '',
  tree: '',
  sha: '',
  digest: '',
  generation: 0,
  handledRequest: undefined,
  seenAt: 0,
  appliedAt: 0,
  waitsSince: 0,
  isRollback: false,
};
