import type { ObjectRef } from '../../../machinery/object.ts';

/** Where apps live that `up` creates, and where the examples put theirs. */
export const defaultAppNamespace = 'flux-system';

/** Names the GitRepository and the Kustomization of `up` as `flux bootstrap` does, so that the apps of a Flux repository find them. */
export const rootAppName = 'flux-system';

/** How people name an app, and commands take it: by its name alone where apps usually are, else as `NAMESPACE/NAME`. */
export const nameOfApp = ({ namespace, name }: ObjectRef): string =>
  namespace === undefined || namespace === defaultAppNamespace ? name : `${namespace}/${name}`;
