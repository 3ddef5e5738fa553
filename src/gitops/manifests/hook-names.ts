import { createHash } from 'node:crypto';
import { annotations } from '../../api/well-known.ts';
import { deepFreeze, type KubeObject } from '../../machinery/object.ts';
import type { Manifest } from './manifest.ts';

/** The longest name of a Job. */
const maxNameLength = 63;
const suffixLength = 8;

/** A hook of Argo CD that has a `generateName` in place of a name: it is another object at each revision. */
export function isNamedByRevision({ metadata }: KubeObject): boolean {
  const { name, generateName }: { readonly name?: unknown; readonly generateName?: unknown } = metadata;
  return (
    (name === undefined || name === null || name === '') &&
    typeof generateName === 'string' &&
    generateName !== '' &&
    metadata.annotations?.[annotations.argoHook] !== undefined
  );
}

/**
 * Names such hooks: `generateName`, and a hash of the revision's `digest` and of the hook itself. The name is known
 * before the hook is created, so a process that dies in between leaves no unknown object behind. The same revision
 * always gives the same name.
 */
export function nameHooks(manifests: readonly Manifest[], digest: string): readonly Manifest[] {
  return manifests.map((manifest) => {
    const { object } = manifest;
    if (!isNamedByRevision(object)) return manifest;
    const { generateName = '' } = object.metadata;
    const hash = createHash('sha256')
      .update(`${digest}\0${JSON.stringify(object)}`)
      .digest('hex')
      .slice(0, suffixLength);
    return { ...manifest, object: deepFreeze({ ...object, metadata: { ...object.metadata, name: `${stemOf(generateName)}${hash}` } }) };
  });
}

/** True when `nameHooks` gives the name for it at any revision. */
export const isNameOf = (generateName: string, name: string): boolean =>
  name.startsWith(stemOf(generateName)) && /^[0-9a-f]{8}$/.test(name.slice(stemOf(generateName).length));

const stemOf = (generateName: string): string => generateName.slice(0, maxNameLength - suffixLength);
