import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../../api/source/v1/git-repository.ts';
import type { WhyOverview } from '../../base/contracts/overview.ts';
import type { Client } from '../../client/client.ts';
import { tryGet } from '../../client/try-get.ts';
import { whyOf } from '../../lifecycle/why.ts';

/** Explains an app by what it and its source say; no rule of health is needed, so that the answer is quick. */
export async function explainApp(client: Client, app: Kustomization): Promise<WhyOverview> {
  return whyOf(app, await sourceOf(client, app));
}

async function sourceOf(client: Client, { spec, metadata }: Kustomization): Promise<GitRepository | undefined> {
  if (spec.sourceRef.kind !== gitRepositories.kind) return undefined;
  return tryGet(client, gitRepositories, { namespace: spec.sourceRef.namespace ?? metadata.namespace, name: spec.sourceRef.name });
}
