import type { KindDefinition } from '../machinery/kind.ts';
import type { KindTable } from './service.ts';

const idOf = (group: string, version: string, name: string): string => `${group}/${version}/${name}`;

/** The kinds by resource and by kind name. */
export function createKindTable(kinds: readonly KindDefinition[]): KindTable {
  const byResource = new Map(kinds.map((kind) => [idOf(kind.group, kind.version, kind.resource), kind]));
  const byKind = new Map(kinds.map((kind) => [idOf(kind.group, kind.version, kind.kind), kind]));
  return {
    all: () => kinds,
    find: (group, version, resource) => byResource.get(idOf(group, version, resource)),
    findByKind: (group, version, kind) => byKind.get(idOf(group, version, kind)),
    revision: 1,
  };
}
