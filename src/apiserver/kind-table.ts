import type { KindDefinition } from '../machinery/kind.ts';
import { compareVersions } from './apiextensions/custom-kind.ts';
import type { KindTable } from './kube-api.ts';

const idOf = (group: string, version: string, name: string): string => `${group}/${version}/${name}`;

/** A table to which users add kinds of their own. */
export interface CustomKindTable extends KindTable {
  isBuiltIn(group: string, resource: string): boolean;
  /** Replaces all kinds that are not built in. */
  setCustom(kinds: readonly KindDefinition[]): void;
}

/** The kinds by resource and by kind name. */
export function createKindTable(builtIn: readonly KindDefinition[]): CustomKindTable {
  const resources = new Set(builtIn.map(({ group, resource }) => `${group}/${resource}`));
  let all = builtIn;
  let revision = 1;
  let byResource = indexed(all, ({ resource }) => resource);
  let byKind = indexed(all, ({ kind }) => kind);
  return {
    all: () => all,
    find: (group, version, resource) => byResource.get(idOf(group, version, resource)),
    findByKind: (group, version, kind) => byKind.get(idOf(group, version, kind)),
    get revision() {
      return revision;
    },
    isBuiltIn: (group, resource) => resources.has(`${group}/${resource}`),
    setCustom(custom) {
      const ordered = [...custom].sort(inDiscoveryOrder);
      all = [...builtIn, ...ordered.filter(({ storedAs }) => storedAs?.isUnsupported !== true)];
      byResource = indexed([...builtIn, ...ordered], ({ resource }) => resource);
      byKind = indexed([...builtIn, ...ordered], ({ kind }) => kind);
      revision += 1;
    },
  };
}

/** The first version of a group that is met is its preferred one. */
function inDiscoveryOrder(a: KindDefinition, b: KindDefinition): number {
  if (a.group === b.group) return compareVersions(a.version, b.version);
  return a.group < b.group ? -1 : 1;
}

const indexed = (kinds: readonly KindDefinition[], nameOf: (kind: KindDefinition) => string): ReadonlyMap<string, KindDefinition> =>
  new Map(kinds.map((kind) => [idOf(kind.group, kind.version, nameOf(kind)), kind]));
