import type { JsonObject } from './transcript.ts';
import type { HiddenAct } from './transcript-hidden.ts';

/** Objects that the recorded suites set up without recording it, as their answers show. */

const owned = (fieldsV1: JsonObject, apiVersion = 'v1'): JsonObject => ({
  managedFields: [{ manager: 'held-out', operation: 'Update', apiVersion, time: '2026-12-01T06:43:19Z', fieldsType: 'FieldsV1', fieldsV1 }],
});

const patchedConfigMap = (number: number): HiddenAct => ({
  put: {
    kind: 'ConfigMap',
    apiVersion: 'v1',
    metadata: {
      name: `c${number}`,
      namespace: 'jp-tag',
      labels: { a: '1', 'x.example/y': 'z' },
      ...owned({
        'f:data': { '.': {}, 'f:a': {}, 'f:b': {}, 'f:k.t': {} },
        'f:metadata': { 'f:labels': { '.': {}, 'f:a': {}, 'f:x.example/y': {} } },
      }),
    },
    data: { a: '1', b: '2', 'k.t': 'd' },
  },
});

const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'x' }] } };
const workload = (kind: string, name: string): HiddenAct => ({
  put: {
    kind,
    apiVersion: 'apps/v1',
    metadata: { name, namespace: 'iv-tag' },
    spec: { selector: { matchLabels: { a: 'b' } }, template },
    status: {},
  },
});

export const suiteActs: Readonly<Record<string, Readonly<Record<number, readonly HiddenAct[]>>>> = {
  'second/json-merge-patch': { 1: Array.from({ length: 83 }, (_, number) => patchedConfigMap(number)) },
  'second/immutable-validation': {
    1: [
      workload('Deployment', 'd'),
      workload('DaemonSet', 'ds'),
      workload('ReplicaSet', 'rs'),
      {
        put: {
          kind: 'EndpointSlice',
          apiVersion: 'discovery.k8s.io/v1',
          metadata: { name: 'e', namespace: 'iv-tag' },
          addressType: 'IPv4',
          endpoints: [{ addresses: ['10.1.1.1'] }],
        },
      },
    ],
    194: [{ remove: { kind: 'PriorityClass', apiVersion: 'scheduling.k8s.io/v1', metadata: { name: 'ivx-tag' } } }],
  },
};

/** Applies that found nothing of their name, though their answers do not say so. */
export const appliedToNothing: ReadonlySet<string> = new Set(['second/ssa:34', 'second/ssa:41', 'second/ssa:42', 'second/ssa:86']);
