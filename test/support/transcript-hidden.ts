import type { JsonObject } from './transcript.ts';

/** One of the two: an object that came or changed, or one that went. */
export interface HiddenAct {
  readonly put?: JsonObject;
  readonly remove?: JsonObject;
}

const configMap = (name: string, fields: JsonObject = {}, namespace = 'raw'): JsonObject => {
  const { labels, ...rest } = fields;
  return { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name, namespace, ...(labels === undefined ? {} : { labels }) }, ...rest };
};

/** What happened right before the line of a file that can be told from titles and answers alone. */
export const hiddenActs: Readonly<Record<string, Readonly<Record<number, readonly HiddenAct[]>>>> = {
  'api/list-paging': {
    1: [
      ...[0, 1, 2, 3, 4, 5, 6].map((number) => ({ put: configMap(`pg${number}`, { labels: { pg: String(number % 2) } }) })),
      { put: configMap('w2') },
      { put: configMap('kube-root-ca.crt') },
      { put: configMap('openshift-service-ca.crt') },
    ],
    3: [{ remove: configMap('pg5') }],
  },
  'api/validation': { 116: [{ put: configMap('imm', { data: { a: '1' }, immutable: true }, 'raw2') }] },
};
