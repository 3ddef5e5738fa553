import type { Helm } from './helm.ts';
import type { RemoteBases } from './kustomize/remote-bases.ts';

/** Tools and addresses that a build may use beyond its tree. The operator allows them; absent ones are refused. */
export interface BuildTools {
  /** Inflates the charts of kustomizations. */
  readonly helm?: Helm | undefined;
  /** Repositories that kustomizations may name as bases and components. */
  readonly remoteBases?: RemoteBases | undefined;
}
