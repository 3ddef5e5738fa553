import type { Files } from './kustomize.ts';

/** Kustomizations for comparison alone, each with something that is easily read otherwise than kustomize reads it. */

const gadget = `apiVersion: example.com/v1
kind: Gadget
metadata: {name: g, annotations: {size: "5"}}
spec:
  text: words
  number: 5
  float: 1.5
  flag: true
  nothing: null
  empty: ""
  url: a.b.c
  map: {x: 1, z: last}
  list: [a, b, c]
  items:
  - {name: one, value: 1, tags: [p, q]}
  - {name: two, value: "2", tags: [r]}
  - {name: a.b, value: 3}
  "dot.ted": d
`;

const config = `apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {level: info, port: "80", parts: "a:b:c", flag: "true"}
`;

const service = `apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}, annotations: {note: "a,b,c", "example.com/host": h.example.com}}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}, {name: https, port: 443}]
`;

const files: Files = { 'gadget.yaml': gadget, 'config.yaml': config, 'service.yaml': service };
const with_ = (text: string, more: Files = {}): Files => ({
  ...files,
  ...more,
  'kustomization.yaml': `resources: [gadget.yaml, config.yaml, service.yaml]\n${text}`,
});
const indented = (text: string): string => text.replace(/^/gm, '    ');

const scalars =
  '0644 0o14 0x1F 0b101 1_000 1e3 1.0 1.50 .5 5. +5 -0 1e-7 1e21 123456789012345 08 -0644 1__0 1:30 yes Yes no on off y N true True TRUE null Null NULL ~ 2020-01-01 2020-1-1 2001-12-14T21:59:43.10-05:00 2020-01-01T10:00:00Z 2020-13-45 2020-02-30 1.2.3 0x 0b2 "1.10" \'yes\''
    .split(' ')
    .concat(['', '2020-01-01 10:00:00', '!!str 12', '!!int "12"', '!!float 1', '!!bool "true"', '!!timestamp 2020-01-01']);
const scalarLines = (indent: string): string => scalars.map((scalar, index) => `${indent}v${index}: ${scalar}\n`).join('');

const kinds: Readonly<Record<string, string>> = {
  scalars: `apiVersion: example.com/v1\nkind: Gadget\nmetadata:\n  name: s\n  labels:\n${scalarLines('    ')}  annotations:\n${scalarLines('    ')}spec:\n${scalarLines('  ')}`,
  scalarsInList: `apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: s\n    annotations:\n${scalarLines('      ')}`,
  emptyAnnotations:
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {}, labels: {}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, annotations: null, labels: null}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, annotations: {a: {b: c}, d: [e], f: .inf, g: 12345678901234567890}}\n',
  internalAnnotations:
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {config.kubernetes.io/path: x, config.kubernetes.io/index: "0", internal.config.kubernetes.io/path: x, config.k8s.io/id: "1", internal.config.kubernetes.io/seqindent: wide, config.kubernetes.io/function: kept}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, annotations: {config.kubernetes.io/origin: x}}\n',
  numberAsName: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 12}\n',
  lists:
    'apiVersion: v1\nkind: List\nitems: null\n---\napiVersion: v1\nkind: ConfigMapList\nitems: [{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}]\n---\napiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: p}\nspec: {items: [1]}\n',
};

const sources: Readonly<Record<string, string>> = {
  text: 'kind: Gadget, fieldPath: spec.text',
  empty: 'kind: Gadget, fieldPath: spec.empty',
  number: 'kind: Gadget, fieldPath: spec.number',
  float: 'kind: Gadget, fieldPath: spec.float',
  map: 'kind: Gadget, fieldPath: spec.map',
  part: 'kind: ConfigMap, fieldPath: data.parts, options: {delimiter: ":", index: 1}',
};
const targets: Readonly<Record<string, string>> = {
  text: 'fieldPaths: [spec.text]',
  number: 'fieldPaths: [spec.number]',
  nothing: 'fieldPaths: [spec.nothing]',
  map: 'fieldPaths: [spec.map]',
  each: 'fieldPaths: ["spec.items.*.tags.0"]',
  named: 'fieldPaths: ["spec.items.[name=a.b].value", "spec.dot\\\\.ted"]',
  made: 'fieldPaths: [spec.made.x, "spec.items.[name=new].value", metadata.annotations.made], options: {create: true}',
  between: 'fieldPaths: [spec.url], options: {delimiter: ".", index: 1}',
  before: 'fieldPaths: [spec.url], options: {delimiter: ".", index: -1}',
  emptyPart: 'fieldPaths: [spec..text], options: {create: true}',
  brackets: 'fieldPaths: ["spec.items.[0].value"]',
  name: 'fieldPaths: [metadata.name]',
};

const patches: Readonly<Record<string, string>> = {
  words: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {level: yes, a: on, b: "0644", n: "1", when: 2020-01-01, c: null}',
  annotations:
    'apiVersion: v1\nkind: Service\nmetadata: {name: web, annotations: {note: null, q: 1.10, r: yes, s: 0644}, labels: {app: null, f: 1.50}}',
  noMetadata: 'apiVersion: v1\nkind: Service\nmetadata: {name: web, annotations: null, labels: {}}\nspec: {type: NodePort}',
  overQuoted: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {port: 8080, flag: false}',
  replaceAll: '$patch: replace\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {only: x}',
  noVersion: 'kind: ConfigMap\nmetadata: {name: conf}\ndata: {level: debug}',
};

const operations: Readonly<Record<string, string>> = {
  words:
    '- {op: add, path: /spec/x, value: {a: yes, b: 0644, c: 2020-01-01, d: on}}\n- {op: add, path: /metadata/annotations/n, value: 1.10}',
  lastAnnotation: '- {op: remove, path: /metadata/annotations/size}',
  replaceMissing: '- {op: replace, path: /spec/gone, value: 1}',
  noValue: '- {op: add, path: /spec/x}',
  nullValue: '- {op: add, path: /spec/x, value: null}',
  none: '[]',
  notQuoted: '[{op: add, path: /spec/x, value: 1}]',
  json: '[{"op": "add", "path": "/spec/x", "value": 1}]',
  noName: '- {op: remove, path: /metadata/name}',
};

const generatorFiles: Files = {
  'long.txt': 'word '.repeat(40),
  'page.html': '<a>&</a>\n',
  'empty.env': '',
  'odd.env': '\ufeffA=1\r\n# comment\n B=two words \nC=\nexport D=5\nE="quoted"\n=nameless\n',
  'sub/x.txt': 'x',
};
const generators: Readonly<Record<string, string>> = {
  files: 'files: [long.txt, page.html, "y.txt=sub/x.txt", sub/x.txt/]',
  envs: 'envs: [odd.env, empty.env]\n  literals: ["q=\'1\'", "w=a=b"]',
  sameKey: 'files: [x.txt=long.txt, sub/x.txt]',
  type: 'type: example.com/t\n  literals: [a=1]',
};

const named = (prefix: string, cases: Readonly<Record<string, Files>>): readonly (readonly [string, Files])[] =>
  Object.entries(cases).map(([name, files]) => [`${prefix}-${name}`, files]);
const mapValues = <T>(record: Readonly<Record<string, string>>, change: (text: string) => T): Readonly<Record<string, T>> =>
  Object.fromEntries(Object.entries(record).map(([name, text]) => [name, change(text)]));

const images = (image: string): Files => ({
  'kustomization.yaml': `resources: [a.yaml]\nimages: [${image}]\n`,
  'a.yaml':
    'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {containers: [{name: a, image: "nginx:1"}, {name: b, image: nginx}], initContainers: [{name: i, image: "nginx@sha256:abc"}]}}}\n---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: "nginx:1"}]}}}}}\n',
});

/** Name and files of each. Some are mistakes, which both programs refuse. */
export const comparedCases: readonly (readonly [name: string, files: Files])[] = [
  ...named(
    'object',
    mapValues(kinds, (text) => ({ 'kustomization.yaml': 'resources: [a.yaml]\n', 'a.yaml': text })),
  ),
  ['object-list-of-a-map', { 'kustomization.yaml': 'resources: [a.yaml]\n', 'a.yaml': 'apiVersion: v1\nkind: List\nitems: {a: b}\n' }],
  [
    'object-number-as-key',
    { 'kustomization.yaml': 'resources: [a.yaml]\n', 'a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {1: a}\n' },
  ],
  ['kustomization-metadata', with_('metadata: {name: x, labels: {a: b}}\n')],
  ['kustomization-metadata-more', with_('metadata: {more: x}\n')],
  ['kustomization-null-label', with_('commonLabels: {a: null}\n')],
  ['kustomization-field-twice', with_('namePrefix: a-\nnamePrefix: b-\nreplicas: [{name: nobody, count: 1}]\nreplicas: []\n')],
  ...Object.entries(sources).flatMap(([from, source]) =>
    Object.entries(targets).map(
      ([to, target]) =>
        [
          `replacement-${from}-${to}`,
          with_(`replacements:\n- source: {${source}}\n  targets: [{select: {kind: Gadget}, ${target}}]\n`),
        ] as const,
    ),
  ),
  [
    'replacement-file-with-more',
    with_('replacements: [{path: r.yaml}]\n', {
      'r.yaml':
        'more: 1\nsource: {kind: Service}\ntargets: [{select: {kind: Gadget}, fieldPaths: [spec.text]}]\n---\nsource: {kind: Gadget}\ntargets: [{select: {kind: Service}}]\n',
    }),
  ],
  ['replacement-file-empty', with_('replacements: [{path: r.yaml}]\n', { 'r.yaml': '' })],
  ...Object.entries(patches).flatMap(([name, text]) => {
    const kind = /kind: (\w+)/.exec(text)?.[1];
    return [
      [`patch-${name}`, with_(`patches:\n- patch: |-\n${indented(text)}\n`)],
      [`patch-${name}-target`, with_(`patches:\n- patch: |-\n${indented(text)}\n  target: {kind: ${kind}}\n`)],
      [`patch-${name}-strategic`, with_(`patchesStrategicMerge:\n- |-\n${indented(text)}\n`)],
    ] as const;
  }),
  [
    'patch-makes-two-one',
    with_(
      'patches: [{target: {kind: Gadget}, patch: "- {op: replace, path: /kind, value: ConfigMap}\\n- {op: replace, path: /apiVersion, value: v1}\\n- {op: replace, path: /metadata/name, value: conf}"}]\n',
    ),
  ],
  ['patch-empty-file', with_('patches: [{path: p.yaml}]\n', { 'p.yaml': '' })],
  ['patch-empty-file-target', with_('patches: [{path: p.yaml, target: {kind: Gadget}}]\n', { 'p.yaml': '' })],
  ['patch-comment-target', with_('patches: [{patch: "# nothing", target: {kind: Gadget}}]\n')],
  ...named(
    'operations',
    mapValues(operations, (text) => with_(`patches:\n- target: {kind: Gadget}\n  patch: |-\n${indented(text)}\n`)),
  ),
  [
    'operations-target-without-name',
    with_('patchesJson6902:\n- target: {kind: Gadget}\n  patch: |-\n    - {op: add, path: /spec/x, value: 1}\n'),
  ],
  ...['configMap', 'secret'].flatMap((kind) =>
    named(
      kind,
      mapValues(generators, (text) => ({ ...generatorFiles, 'kustomization.yaml': `${kind}Generator:\n- name: made\n  ${text}\n` })),
    ),
  ),
  [
    'generator-merge-into-numbers',
    {
      'kustomization.yaml': 'resources: [base]\nconfigMapGenerator: [{name: a, behavior: merge, literals: [x=1]}]\n',
      'base/kustomization.yaml': 'resources: [a.yaml]\n',
      'base/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {n: 5, t: true, e: ""}\n',
    },
  ],
  ...named(
    'image',
    mapValues(
      {
        suffix: '{name: nginx, tagSuffix: -x}',
        suffixAndName: '{name: nginx, newName: other, tagSuffix: -x}',
        pattern: '{name: "n.*", newName: nq, tagSuffix: -x}',
      },
      images,
    ),
  ),
];
