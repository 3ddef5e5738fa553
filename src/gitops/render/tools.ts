import type { Helm } from './helm.ts';
import type { RemoteBases } from './kustomize/remote-bases.ts';

/** What a build may use beyond the tree that it builds. Whoever runs the program allows it; what is absent is refused. */
export interface BuildTools {
  /** Inflates the charts of kustomizations. */
  readonly helm?: Helm | undefined;
  /** Repositories that kustomizations may name as bases and components. */
  readonly remoteBases?: RemoteBases | undefined;
}
