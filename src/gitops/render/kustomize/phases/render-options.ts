import type { Helm } from '../../helm.ts';
import type { FileTree } from '../file-tree.ts';
import type { ImageRule, PatchRule } from '../kustomization.ts';
import type { LoadRestrictor } from '../load-restrictor.ts';
import type { RemoteBases } from '../remote-bases.ts';
import type { JsonMap, Origin } from '../resource.ts';

export interface RenderOptions {
  readonly tree: FileTree;
  /** Directory with the kustomization file. */
  readonly path: string;
  /** Changes to the top kustomization that its file does not have. */
  readonly overlay?: Overlay | undefined;
  /** In place of a kustomization file: what it would list. */
  readonly resources?: readonly string[] | undefined;
  /** Inflates charts; absent: a kustomization with charts is refused. */
  readonly helm?: Helm | undefined;
  /** Fetches bases of other repositories; absent: a kustomization with one is refused. */
  readonly remoteBases?: RemoteBases | undefined;
  /** Absent: `LoadRestrictionsRootOnly`. */
  readonly loadRestrictor?: LoadRestrictor | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Additions of an app to the kustomization it is made from; names and namespace win over those in the file. */
export interface Overlay {
  readonly namespace?: string | undefined;
  readonly namePrefix?: string | undefined;
  readonly nameSuffix?: string | undefined;
  readonly components?: readonly string[] | undefined;
  readonly ignoreMissingComponents?: boolean | undefined;
  readonly patches?: readonly PatchRule[] | undefined;
  readonly images?: readonly ImageRule[] | undefined;
  /** In place of what the file has, unless empty. */
  readonly buildMetadata?: readonly string[] | undefined;
}

export interface RenderedObject {
  readonly object: JsonMap;
  readonly origin: Origin;
}
