import { join } from 'node:path';
import { authorityFiles, certificatesIn } from '../base/pki/authority.ts';
import { tryReadText } from '../base/pki/key-pair.ts';
import type { Bundle } from './sealed-bundle.ts';

export const signingKeyPath = join('pki', 'sa.key');
export const encryptionPath = join('pki', 'encryption.yaml');
/** Directories below a data directory in which keys are made before they are shared. */
export const newKeysPrefix = 'new-keys-';
/** The paths of shared files, below a data directory. */
export const sharedFiles: readonly string[] = [
  ...['pki', join('pki', 'front-proxy')].flatMap((directory) =>
    [authorityFiles.certificate, authorityFiles.key, authorityFiles.former, authorityFiles.links].map((name) => join(directory, name)),
  ),
  signingKeyPath,
  encryptionPath,
  'git-token',
];
export const authorityPath = join('pki', authorityFiles.certificate);
const formerPath = join('pki', authorityFiles.former);

/** Texts of the shared files that a data directory has, by path. */
export async function readShared(directory: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const path of sharedFiles) {
    const text = await tryReadText(join(directory, path));
    if (text !== undefined) files[path] = text;
  }
  return files;
}

/** The authorities of a cluster, the one that signs first. */
export const authoritiesIn = ({ files }: Bundle): readonly string[] =>
  certificatesIn(`${files[authorityPath] ?? ''}${files[formerPath] ?? ''}`);
