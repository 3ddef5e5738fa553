import { isIP } from 'node:net';
import { secrets } from '../api/core/v1/secret.ts';
import { defaultAppNamespace } from '../api/kustomize/v1/app-name.ts';
import { kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { type GitRepositorySpec, gitRepositories } from '../api/source/v1/git-repository.ts';
import { annotations } from '../api/well-known.ts';
import type { Client } from '../client/client.ts';
import { tryGet } from '../client/try-get.ts';
import { keyOf } from '../machinery/object.ts';
import { formerRootName, isOfUp, renameRootApp, sourceReferrers, upFieldManager } from './root-app-rename.ts';

/** Flags of `midship up` about the repository that the cluster runs. */
export interface RootAppFlags {
  readonly url: string;
  /** The address is one of the built-in remote, whose host and port change from start to start. */
  readonly isBuiltIn: boolean;
  /** Absent: as at the start before, of the same repository. */
  readonly branch?: string | undefined;
  readonly path?: string | undefined;
  /** For a repository behind https; becomes a Secret that the GitRepository refers to. */
  readonly credentials?: { readonly username: string; readonly password: string } | undefined;
}

/** The repository that the cluster runs. */
export interface FollowedRepository {
  /** `namespace/name` of the GitRepository. */
  readonly repository: string;
  /** Directory that is applied, as the flags say it or those of an earlier start did. */
  readonly path: string;
  readonly notes: readonly string[];
  /** Address that an earlier start followed, when it is another repository. */
  readonly left: string | undefined;
}

/** Branch that is followed when nothing names another one. */
export const defaultBranch = 'main';

const credentialsRef = { name: 'cluster-git-credentials', namespace: defaultAppNamespace };
const write = { fieldManager: upFieldManager, force: true };
/** No app applies over what the flags say, and a tree that holds the two objects, as `flux bootstrap` commits them, does not either. */
const ofFlags = { [annotations.fluxReconcile]: 'disabled' };

/**
 * Writes the GitRepository and the Kustomization that the flags of `up` ask for. Those of an earlier start follow the flags of this one. To
 * be called before the engine looks: an app of an earlier version gets its present name here.
 *
 * @returns what is followed, and sentences about what became of an earlier version's objects
 */
export async function followRepository(client: Client, flags: RootAppFlags): Promise<FollowedRepository> {
  const { name, notes } = await renameRootApp(client);
  const ref = { name, namespace: defaultAppNamespace };
  const { url, isBuiltIn, credentials } = flags;
  // A start without the flags goes on as the one before: another path of the same repository is another set of objects.
  const repository = await tryGet(client, gitRepositories, ref);
  const isSame = repository !== undefined && addressOf(repository.spec.url, isBuiltIn) === addressOf(url, isBuiltIn);
  const before = isSame ? await tryGet(client, kustomizations, ref) : undefined;
  const branch = flags.branch ?? (isSame ? repository.spec.ref?.branch : undefined) ?? defaultBranch;
  const path = flags.path ?? before?.spec.path ?? './';
  if (credentials !== undefined) {
    const body = { apiVersion: 'v1', kind: 'Secret', metadata: credentialsRef, type: 'Opaque', stringData: credentials };
    await client.patch(secrets, credentialsRef, { type: 'apply', body }, write);
  }
  const spec: GitRepositorySpec = {
    url,
    interval: '10s',
    timeout: '60s',
    ref: { branch },
    ...(credentials === undefined ? {} : { secretRef: { name: credentialsRef.name } }),
  };
  await applyRepository(client, name, spec);
  const body = {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: kustomizations.kind,
    metadata: { ...ref, annotations: ofFlags },
    spec: { interval: '10m', path, prune: true, sourceRef: { kind: gitRepositories.kind, name } },
  };
  await client.patch(kustomizations, ref, { type: 'apply', body }, write);
  return {
    repository: keyOf({ metadata: ref }),
    path,
    left: isSame ? undefined : repository?.spec.url,
    notes: name === formerRootName ? notes : [...notes, ...(await followUnderFormerName(client, spec))],
  };
}

async function applyRepository(client: Client, name: string, spec: GitRepositorySpec): Promise<void> {
  const ref = { name, namespace: defaultAppNamespace };
  const body = {
    apiVersion: 'source.toolkit.fluxcd.io/v1',
    kind: gitRepositories.kind,
    metadata: { ...ref, annotations: ofFlags },
    spec,
  };
  await client.patch(gitRepositories, ref, { type: 'apply', body }, write);
}

/** Apps of a repository name the GitRepository as an earlier version named it: it stays for as long as one does. */
async function followUnderFormerName(client: Client, spec: GitRepositorySpec): Promise<readonly string[]> {
  const ref = { name: formerRootName, namespace: defaultAppNamespace };
  const former = await tryGet(client, gitRepositories, ref);
  if (former === undefined || !isOfUp(former)) return [];
  const referrers = await sourceReferrers(client, ref);
  const [first, ...others] = referrers;
  if (first === undefined) {
    await client.delete(gitRepositories, ref);
    return [];
  }
  await applyRepository(client, formerRootName, spec);
  const more = others.length === 0 ? '' : ` and ${others.length} more`;
  return [`GitRepository ${formerRootName} stays for ${first}${more}: name flux-system in their sourceRef, and the next start removes it`];
}

/** Names a repository the same, whatever address and port the built-in remote has this time. */
function addressOf(url: string, isBuiltIn: boolean): string {
  const { protocol, hostname, pathname } = new URL(url);
  const isOwn = isBuiltIn && protocol === 'http:' && isIP(hostname.replace(/^\[(.*)\]$/, '$1')) !== 0;
  return `${protocol}//${isOwn ? '' : hostname}${pathname}`;
}
