import type { KubeObject } from './object.ts';

/**
 * Addresses the objects of one kind in one version, and carries their type. Each file in `src/api` exports one, for example `pods`.
 * Resources found by discovery have the type `Resource<DynamicObject>`.
 */
export interface Resource<T extends KubeObject = KubeObject> {
  /** Empty for core. */
  readonly group: string;
  readonly version: string;
  /** Plural, lower case: `pods`. */
  readonly resource: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Carries the type only; never present. */
  readonly _type?: T;
}

/** `v1`, `apps/v1` */
export const apiVersionOf = ({ group, version }: { readonly group: string; readonly version: string }): string =>
  group === '' ? version : `${group}/${version}`;

/** The inverse of `apiVersionOf`. */
export function parseApiVersion(apiVersion: string): { readonly group: string; readonly version: string } {
  const slash = apiVersion.indexOf('/');
  return slash === -1 ? { group: '', version: apiVersion } : { group: apiVersion.slice(0, slash), version: apiVersion.slice(slash + 1) };
}

/** `pods`, `deployments.apps`: identifies a resource regardless of version. */
export const groupResourceOf = ({ group, resource }: { readonly group: string; readonly resource: string }): string =>
  group === '' ? resource : `${resource}.${group}`;
