import type { Files } from './kustomize.ts';

/** Kustomizations whose files say what the fields of custom kinds are: `crds`, `configurations`, `openapi`. */

const objects = `apiVersion: example.com/v1
kind: Bee
metadata: {name: bee}
spec:
  identity: i
  action: fly
  image: nginx:1.0
  count: 1
  secretRef: {name: key}
  configName: conf
  hive: {comb: {ref: {name: conf}}}
  refs: [conf, other, conf]
  selector: {a: b}
  notes: {first: m}
  place: {namespace: old}
  text: "says $(WORD)"
  list:
  - {id: one, value: 1, more: x}
  - {id: two, value: 2}
  ports:
  - {name: a, port: 1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {word: hello}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {a: b}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template: {spec: {containers: [{name: one, image: nginx:1.0}, {name: two, image: nginx:1.0}]}}
`;

const type = (properties: string): string => `example.com/pkg.Bee:
  Schema:
    properties:
      kind: {type: string}
      apiVersion: {type: string}
      metadata: {$ref: meta}
      spec: {$ref: example.com/pkg.BeeSpec}
example.com/pkg.BeeSpec:
  Schema:
    properties:
${properties}
`;

const definition = (properties: string): string => `definitions:
  com.example.v1.Bee:
    type: object
    x-kubernetes-group-version-kind: [{group: example.com, version: v1, kind: Bee}]
    properties:
      spec: {$ref: "#/definitions/com.example.v1.BeeSpec"}
  com.example.v1.BeeSpec:
    type: object
    properties:
${properties}
`;
const keyedList = `      list:
        type: array
        x-kubernetes-patch-strategy: merge
        x-kubernetes-patch-merge-key: id
        items: {type: object, properties: {id: {type: string}}}
`;

const all = 'namePrefix: pre-\nnameSuffix: -post\nnamespace: here\ncommonAnnotations: {note: text}\n';
const patches = `patches:
- patch: |-
    apiVersion: example.com/v1
    kind: Bee
    metadata: {name: bee}
    spec: {list: [{id: two, value: 3}, {id: new, value: 4}], ports: [{name: b, port: 2}]}
- patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec: {template: {spec: {containers: [{name: two, image: other}]}}}
`;

const files = (text: string, more: Files): Files => ({
  'objects.yaml': objects,
  ...more,
  'kustomization.yaml': `resources: [objects.yaml]\n${text}`,
});
const withCrds = (properties: string, text = all): Files => files(`crds: [crd.yaml]\n${text}`, { 'crd.yaml': type(properties) });
const withConfig = (config: string, text: string): Files => files(`configurations: [config.yaml]\n${text}`, { 'config.yaml': config });
const withSchema = (schema: string, text = patches): Files => files(`openapi: {path: schema.yaml}\n${text}`, { 'schema.yaml': schema });

const references = `nameReference:
- {kind: ConfigMap, fieldSpecs: [{kind: Bee, path: spec/configName}, {kind: Bee, path: spec/refs}]}
- {kind: Secret, version: v1, fieldSpecs: [{kind: Bee, group: example.com, path: spec/secretRef/name}]}
`;

/** A variable wherever a pod, or what makes pods, may have one. */
const pod =
  '{metadata: {annotations: {a: $(S)}, labels: {l: $(S)}}, spec: {containers: [{name: c, image: $(S), args: [$(S)]}], volumes: [{nfs: {server: $(S), path: $(S)}}]}, volumes: [{nfs: {server: $(S)}}]}';
const variablePlaces = [
  'apiVersion: v1\nkind: Service\nmetadata: {name: web}\n',
  ...['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet'].map(
    (kind) => `apiVersion: apps/v1\nkind: ${kind}\nmetadata: {name: x}\nspec: {template: ${pod}}\n`,
  ),
  `apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\nspec: {template: ${pod}}\n`,
  `apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: x}\nspec: {jobTemplate: {spec: {template: ${pod}}}}\n`,
].join('---\n');

export const fieldCases: readonly (readonly [name: string, files: Files])[] = [
  [
    'variables-in-pods',
    {
      'objects.yaml': variablePlaces,
      'kustomization.yaml': 'resources: [objects.yaml]\nvars: [{name: S, objref: {kind: Service, name: web, apiVersion: v1}}]\n',
    },
  ],
  ['crds-annotation', withCrds('      notes: {x-kubernetes-annotation: ""}')],
  ['crds-label-selector', withCrds('      selector: {x-kubernetes-label-selector: ""}', 'commonLabels: {l: v}\n')],
  [
    'crds-label-selector-labels',
    withCrds('      selector: {x-kubernetes-label-selector: ""}', 'labels: [{pairs: {l: v}, includeSelectors: true}, {pairs: {m: w}}]\n'),
  ],
  ['crds-identity', withCrds('      identity: {x-kubernetes-identity: ""}')],
  ['crds-reference', withCrds('      secretRef: {x-kubernetes-object-ref-api-version: v1, x-kubernetes-object-ref-kind: Secret}')],
  [
    'crds-reference-key',
    withCrds(
      '      secretRef: {x-kubernetes-object-ref-api-version: v1, x-kubernetes-object-ref-kind: Secret, x-kubernetes-object-ref-name-key: other}',
    ),
  ],
  ['crds-reference-without-version', withCrds('      secretRef: {x-kubernetes-object-ref-kind: Secret}')],
  [
    'crds-nested',
    files(`crds: [crd.yaml]\n${all}`, {
      'crd.yaml': `${type('      hive: {$ref: example.com/pkg.Hive}')}example.com/pkg.Hive:
  Schema: {properties: {comb: {$ref: example.com/pkg.Comb}}}
example.com/pkg.Comb:
  Schema: {properties: {ref: {x-kubernetes-object-ref-api-version: v1, x-kubernetes-object-ref-kind: ConfigMap}}}
`,
    }),
  ],
  [
    'crds-json',
    files(`crds: [crd.json]\n${all}`, {
      'crd.json': JSON.stringify({
        'example.com/pkg.Bee': {
          Schema: { properties: { kind: {}, apiVersion: {}, metadata: {}, spec: { $ref: 'example.com/pkg.BeeSpec' } } },
          Dependencies: [],
        },
        'example.com/pkg.BeeSpec': { Schema: { properties: { notes: { 'x-kubernetes-annotation': '' } } } },
      }),
    }),
  ],
  [
    'crds-lowercase',
    files(`crds: [crd.yaml]\n${all}`, { 'crd.yaml': type('      notes: {x-kubernetes-annotation: ""}').replaceAll('Schema', 'schema') }),
  ],
  ['crds-not-a-type', files(`crds: [crd.yaml]\n${all}`, { 'crd.yaml': 'a: 1\n' })],
  ['crds-missing', files(`crds: [none.yaml]\n${all}`, {})],
  [
    'crds-real-definition',
    files(`crds: [crd.yaml]\n${all}`, {
      'crd.yaml':
        'apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: bees.example.com}\nspec: {group: example.com}\n',
    }),
  ],
  [
    'crds-in-base',
    {
      'base/objects.yaml': objects,
      'base/crd.yaml': type(
        '      notes: {x-kubernetes-annotation: ""}\n      secretRef: {x-kubernetes-object-ref-api-version: v1, x-kubernetes-object-ref-kind: Secret}',
      ),
      'base/kustomization.yaml': 'resources: [objects.yaml]\ncrds: [crd.yaml]\n',
      'kustomization.yaml': `resources: [base]\n${all}`,
    },
  ],
  ['configurations-references', withConfig(references, all)],
  ['configurations-references-any-kind', withConfig('nameReference: [{kind: ConfigMap, fieldSpecs: [{path: spec/configName}]}]\n', all)],
  [
    'configurations-in-base',
    {
      'base/objects.yaml': objects,
      'base/config.yaml': references,
      'base/kustomization.yaml': 'resources: [objects.yaml]\nconfigurations: [config.yaml]\nnamePrefix: base-\n',
      'kustomization.yaml': `resources: [base]\n${all}`,
    },
  ],
  ['configurations-labels', withConfig('commonLabels: [{path: spec/selector, create: true, kind: Bee}]\n', 'commonLabels: {l: v}\n')],
  [
    'configurations-labels-made',
    withConfig('commonLabels: [{path: spec/made/deep, create: true, kind: Bee}]\n', 'labels: [{pairs: {l: v}, includeSelectors: true}]\n'),
  ],
  [
    'configurations-template-labels',
    withConfig('templateLabels: [{path: spec/selector, kind: Bee}]\n', 'labels: [{pairs: {l: v}, includeTemplates: true}]\n'),
  ],
  ['configurations-metadata-labels', withConfig('labels: [{path: spec/selector, kind: Bee}]\n', 'labels: [{pairs: {l: v}}]\n')],
  ['configurations-annotations', withConfig('commonAnnotations: [{path: spec/notes, create: true, kind: Bee}]\n', all)],
  ['configurations-prefix', withConfig('namePrefix: [{path: spec/identity, kind: Bee}]\n', all)],
  ['configurations-prefix-made', withConfig('namePrefix: [{path: spec/made, kind: Bee, create: true}]\n', all)],
  ['configurations-suffix', withConfig('nameSuffix: [{path: spec/identity, kind: Bee}]\n', all)],
  ['configurations-namespace', withConfig('namespace: [{path: spec/place/namespace, kind: Bee, create: true}]\n', all)],
  [
    'configurations-images',
    withConfig('images: [{path: spec/image, kind: Bee}]\n', 'images: [{name: nginx, newTag: "2"}, {name: other, newName: x}]\n'),
  ],
  ['configurations-images-suffix', withConfig('images: [{path: spec/image, kind: Bee}]\n', 'images: [{name: nginx, tagSuffix: -x}]\n')],
  ['configurations-replicas', withConfig('replicas: [{path: spec/count, kind: Bee}]\n', 'replicas: [{name: bee, count: 3}]\n')],
  [
    'configurations-replicas-made',
    withConfig('replicas: [{path: spec/made, kind: Bee, create: true}]\n', 'replicas: [{name: bee, count: 3}]\n'),
  ],
  [
    'configurations-variables',
    withConfig(
      'varReference: [{path: spec/text, kind: Bee}]\n',
      'vars: [{name: WORD, objref: {apiVersion: v1, kind: ConfigMap, name: conf}, fieldref: {fieldpath: data.word}}]\n',
    ),
  ],
  ['configurations-conflict', withConfig('commonLabels: [{path: metadata/labels, create: false}]\n', 'commonLabels: {l: v}\n')],
  ['configurations-conflict-unused', withConfig('commonLabels: [{path: metadata/labels, create: false}]\n', '')],
  ['configurations-conflict-namespace', withConfig('namespace: [{path: metadata/namespace}]\n', '')],
  ['configurations-name-again', withConfig('namePrefix: [{path: metadata/name}]\n', all)],
  ['configurations-name-of-kind', withConfig('namePrefix: [{path: metadata/name, kind: Bee}]\n', all)],
  ['configurations-namespace-again', withConfig('namespace: [{path: metadata/namespace, create: true}]\n', all)],
  ['configurations-twice', files(`configurations: [a.yaml, a.yaml]\n${all}`, { 'a.yaml': references })],
  [
    'configurations-two',
    files(`configurations: [a.yaml, b.yaml]\n${all}`, {
      'a.yaml': references,
      'b.yaml': 'commonAnnotations: [{path: spec/notes, kind: Bee}]\n',
    }),
  ],
  ['configurations-unknown-field', withConfig('nothing: []\n', all)],
  ['configurations-unknown-field-of-spec', withConfig('namePrefix: [{path: spec/identity, kind: Bee, other: x}]\n', all)],
  ['configurations-empty', withConfig('', all)],
  ['configurations-wrong-type', withConfig('namePrefix: text\n', all)],
  ['configurations-missing', files(`configurations: [none.yaml]\n${all}`, {})],
  ['openapi-keyed', withSchema(definition(keyedList))],
  ['openapi-without-key', withSchema(definition(keyedList).replace(/ +x-kubernetes-patch-merge-key: id\n/, ''))],
  ['openapi-without-strategy', withSchema(definition(keyedList).replace(/ +x-kubernetes-patch-strategy: merge\n/, ''))],
  [
    'openapi-list-type',
    withSchema(
      definition(
        '      list:\n        type: array\n        x-kubernetes-list-type: map\n        x-kubernetes-list-map-keys: [id]\n        items: {type: object}\n',
      ),
    ),
  ],
  [
    'openapi-json',
    files(`openapi: {path: schema.json}\n${patches}`, {
      'schema.json': JSON.stringify({
        definitions: {
          'com.example.v1.Bee': {
            'x-kubernetes-group-version-kind': [{ group: 'example.com', version: 'v1', kind: 'Bee' }],
            properties: {
              spec: {
                properties: {
                  list: {
                    type: 'array',
                    items: { type: 'object' },
                    'x-kubernetes-patch-strategy': 'merge',
                    'x-kubernetes-patch-merge-key': 'id',
                  },
                },
              },
            },
          },
        },
      }),
    }),
  ],
  ['openapi-dangling', withSchema(definition('      list: {$ref: "#/definitions/none"}\n'))],
  ['openapi-version', files(`openapi: {version: v1.21.2}\n${patches}`, {})],
  ['openapi-other-version', files(`openapi: {version: v1.20.4}\n${patches}`, {})],
  ['openapi-both', files(`openapi: {version: v1.21.2, path: schema.yaml}\n${patches}`, { 'schema.yaml': definition(keyedList) })],
  ['openapi-missing', files(`openapi: {path: none.yaml}\n${patches}`, {})],
  ['openapi-empty', withSchema('definitions: {}\n')],
  [
    'openapi-in-base',
    {
      'base/objects.yaml': objects,
      'base/schema.yaml': definition(keyedList),
      'base/kustomization.yaml': `resources: [objects.yaml]\nopenapi: {path: schema.yaml}\n${patches}`,
      'kustomization.yaml': `resources: [base]\n${patches}`,
    },
  ],
  [
    'configurations-name-in-overlay',
    {
      'base/objects.yaml': objects,
      'base/kustomization.yaml': 'resources: [objects.yaml]\nnamePrefix: base-\n',
      'config.yaml': 'namePrefix: [{path: metadata/name, kind: Bee}]\ncommonAnnotations: [{path: spec/notes, kind: Bee}]\n',
      'kustomization.yaml': `resources: [base]\nconfigurations: [config.yaml]\n${all}`,
    },
  ],
  [
    'configurations-of-component',
    {
      'objects.yaml': objects,
      'part/config.yaml': references,
      'part/kustomization.yaml':
        'apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nconfigurations: [config.yaml]\ncommonAnnotations: {from: part}\n',
      'kustomization.yaml': `resources: [objects.yaml]\ncomponents: [part]\n${all}`,
    },
  ],
  ['labels-fields-of-one-kind', files('labels: [{pairs: {l: v}, fields: [{path: metadata/labels, kind: Bee, create: true}]}]\n', {})],
  [
    'openapi-in-overlay',
    {
      'base/objects.yaml': objects,
      'base/kustomization.yaml': `resources: [objects.yaml]\n${patches}`,
      'schema.yaml': definition(keyedList),
      'kustomization.yaml': `resources: [base]\nopenapi: {path: schema.yaml}\n${patches}`,
    },
  ],
];
