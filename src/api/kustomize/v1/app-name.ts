import type { ObjectRef } from '../../../machinery/object.ts';

/** Namespace of the apps that `up` creates and of the examples. */
export const defaultAppNamespace = 'flux-system';

/** Names the GitRepository and the Kustomization of `up` as `flux bootstrap` does, so that the apps of a Flux repository find them. */
export const rootAppName = 'flux-system';

/** Display name of an app, which commands accept: its name alone in the usual namespace, else `NAMESPACE/NAME`. */
export const nameOfApp = ({ namespace, name }: ObjectRef): string =>
  namespace === undefined || namespace === defaultAppNamespace ? name : `${namespace}/${name}`;
