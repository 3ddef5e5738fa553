import type { BuildError } from '../manifests/manifest.ts';
import { type GitSource, SourceError, type TreeEntry } from '../sources/git-source.ts';

/** A manifest that is larger than an object of the API is none. */
const maxJsonBytes = 1_572_864;

/**
 * Says why an entry of a plain directory is not read though it looks like a part of an app. It is a submodule, or a manifest in JSON,
 * which Flux leaves out as well. Undefined for every other entry.
 */
export async function whyUnread(source: Pick<GitSource, 'readBlob'>, entry: TreeEntry): Promise<Omit<BuildError, 'file'> | undefined> {
  if (!looksLikePart(entry)) return undefined;
  if (entry.type === 'submodule') return unreadSubmodule;
  return (await isManifest(source, entry.oid)) ? unreadJson : undefined;
}

/** True for an entry that is worth a look; its content decides. */
export const looksLikePart = ({ name, type, problem }: TreeEntry): boolean =>
  !name.startsWith('.') && problem === undefined && (type === 'submodule' || (type === 'blob' && /\.json$/i.test(name)));

async function isManifest(source: Pick<GitSource, 'readBlob'>, oid: string): Promise<boolean> {
  try {
    const object: unknown = JSON.parse(new TextDecoder().decode(await source.readBlob(oid, maxJsonBytes)));
    const { apiVersion, kind } = (object ?? {}) as { readonly apiVersion?: unknown; readonly kind?: unknown };
    return typeof apiVersion === 'string' && typeof kind === 'string';
  } catch (err) {
    // An app does not fail by a file that is no part of it.
    if (err instanceof SyntaxError || err instanceof SourceError) return false;
    throw err;
  }
}

const unreadJson = {
  message: 'is a manifest in JSON, which is not read',
  hint: 'Manifests of a plain directory end in .yaml or .yml. JSON is YAML as well, so rename it, or list it in a kustomization.',
};
export const unreadSubmodule = {
  message: 'is a submodule, which an app reads only when its GitRepository has spec.recurseSubmodules',
  hint: 'Set it there, or copy the files. The repository of --repo is read without submodules.',
};
