/**
 * Transformers and generators of kustomize as objects of their own, over the corpus: `metadata.name` is the key. Each has what is easily
 * taken for something else.
 */
const named = '[{path: metadata/name}]';

export const transformerObjects: Readonly<Record<string, string>> = {
  patch: `kind: PatchTransformer\npatch: '[{"op": "add", "path": "/spec/replicas", "value": 7}]'\ntarget: {kind: Deployment}\n`,
  'patch-merge':
    'kind: PatchTransformer\npatch: |-\n  apiVersion: v1\n  kind: Service\n  metadata: {name: web, annotations: {patched: "yes"}}\n  spec: {type: NodePort}\n',
  'patch-file': 'kind: PatchTransformer\npath: patch-web.yaml\n',
  'patch-file-target': 'kind: PatchTransformer\npath: patch-json.yaml\ntarget: {name: w.b, kind: Deployment}\n',
  'patch-rename':
    'kind: PatchTransformer\noptions: {allowNameChange: true}\ntarget: {kind: ConfigMap, name: config}\npatch: |-\n  apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: renamed}\n',
  strategic:
    'kind: PatchStrategicMergeTransformer\npatches: |-\n  apiVersion: v1\n  kind: Service\n  metadata: {name: web}\n  spec: {ports: [{port: 80, nodePort: 30080}]}\n  ---\n  apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: config}\n  data: {level: null, more: "2"}\n',
  'strategic-files': 'kind: PatchStrategicMergeTransformer\npaths: [patch-web.yaml]\n',
  'strategic-text':
    'kind: PatchStrategicMergeTransformer\npaths:\n- |-\n  apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: config}\n  data: {x: "1"}\n',
  json: `kind: PatchJson6902Transformer\ntarget: {version: v1, kind: ConfigMap, name: config}\njsonOp: '[{"op": "replace", "path": "/data/level", "value": debug}]'\n`.replace(
    'debug}',
    '"debug"}',
  ),
  'json-yaml':
    'kind: PatchJson6902Transformer\ntarget: {group: apps, version: v1, kind: Deployment, name: web}\njsonOp: |-\n  - op: add\n    path: /metadata/annotations\n    value: {a: b}\n',
  'json-file': 'kind: PatchJson6902Transformer\ntarget: {group: apps, version: v1, kind: Deployment, name: web}\npath: patch-json.yaml\n',
  image:
    'kind: ImageTagTransformer\nimageTag: {name: nginx, newTag: "9"}\nfieldSpecs: [{path: "spec/template/spec/containers[]/image", create: true}, {kind: Gadget, path: spec/image}]\n',
  'image-bare': 'kind: ImageTagTransformer\nimageTag: {name: nginx, newName: other/nginx, digest: "sha256:abc"}\n',
  'image-suffix':
    'kind: ImageTagTransformer\nimageTag: {name: nginx, tagSuffix: -s}\nfieldSpecs: [{path: "spec/template/spec/containers[]/image"}]\n',
  replacement:
    'kind: ReplacementTransformer\nreplacements:\n- source: {kind: ConfigMap, name: config, fieldPath: data.level}\n  targets:\n  - {select: {kind: Gadget}, fieldPaths: [spec.configRef]}\n- path: replacement.yaml\n',
  namespace: 'kind: NamespaceTransformer\nfieldSpecs: []\n'.replace('kind', 'kind'),
  'namespace-fields':
    'kind: NamespaceTransformer\nfieldSpecs: [{path: metadata/namespace, create: true}, {path: metadata/name, kind: Namespace, create: true}, {path: subjects/namespace, kind: RoleBinding}, {path: spec/place, kind: Gadget, create: true}, {path: webhooks/clientConfig/service/namespace, kind: ValidatingWebhookConfiguration}]\n',
  'namespace-unset':
    'kind: NamespaceTransformer\nunsetOnly: true\nsetRoleBindingSubjects: allServiceAccounts\nfieldSpecs: [{path: spec/place, kind: Gadget, create: true}]\n',
  'namespace-accounts': 'kind: NamespaceTransformer\nsetRoleBindingSubjects: allServiceAccounts\n',
  'namespace-none': 'kind: NamespaceTransformer\nsetRoleBindingSubjects: none\n',
  prefix: `kind: PrefixTransformer\nprefix: t-\nfieldSpecs: ${named}\n`,
  'prefix-fields': `kind: PrefixTransformer\nprefix: t-\nfieldSpecs: [{path: metadata/name, kind: ConfigMap}, {path: spec/list/name, kind: Gadget}]\n`,
  suffix: `kind: SuffixTransformer\nsuffix: -t\nfieldSpecs: ${named}\n`,
  both: `kind: PrefixSuffixTransformer\nprefix: b-\nsuffix: -b\nfieldSpecs: ${named}\n`,
  'no-prefix': `kind: PrefixTransformer\nfieldSpecs: ${named}\n`,
  labels:
    'kind: LabelTransformer\nlabels: {t: "1", app: other}\nfieldSpecs: [{path: metadata/labels, create: true}, {path: spec/selector/matchLabels, kind: Deployment}, {path: spec/template/metadata/labels, kind: Deployment, create: true}, {path: spec/owner, kind: Gadget, create: true}]\n',
  'labels-nowhere': 'kind: LabelTransformer\nlabels: {t: "1"}\n',
  annotations:
    'kind: AnnotationsTransformer\nannotations: {t: "1", number: "5"}\nfieldSpecs: [{path: metadata/annotations, create: true}]\n',
  'annotations-present': 'kind: AnnotationsTransformer\nannotations: {note: changed}\nfieldSpecs: [{path: metadata/annotations}]\n',
  replicas:
    'kind: ReplicaCountTransformer\nreplica: {name: web, count: 9}\nfieldSpecs: [{path: spec/replicas, kind: Deployment, create: true}]\n',
  'replicas-gadget': 'kind: ReplicaCountTransformer\nreplica: {name: gadget, count: 9}\nfieldSpecs: [{path: spec/size, kind: Gadget}]\n',
  hash: 'kind: HashTransformer\n',
  value:
    'kind: ValueAddTransformer\nvalue: added\ntargets:\n- {selector: {kind: Gadget}, fieldPath: spec/made/here}\n- {selector: {kind: Deployment}, fieldPath: "spec/template/spec/containers/[name=web]/image"}\n- {fieldPath: metadata/annotations/value}\n',
  'value-path':
    'kind: ValueAddTransformer\nvalue: part\ntargets:\n- {selector: {kind: ValidatingWebhookConfiguration}, fieldPath: "webhooks/[name=hook.example.com]/clientConfig/service/path", filePathPosition: 1}\n- {selector: {kind: Gadget}, fieldPath: spec/configRef, filePathPosition: 9}\n- {selector: {kind: Gadget}, fieldPath: spec/new, filePathPosition: 2}\n',
  'value-namespace':
    'kind: ValueAddTransformer\nvalue: moved\ntargets: [{selector: {kind: ConfigMap|ServiceAccount}, fieldPath: metadata/namespace}]\n',
  'value-number':
    'kind: ValueAddTransformer\nvalue: "5"\ntargets: [{selector: {kind: Gadget}, fieldPath: spec/size}, {selector: {kind: Gadget}, fieldPath: spec/five}]\n',
};

export const generatorObjects: Readonly<Record<string, string>> = {
  map: 'kind: ConfigMapGenerator\nliterals: [a=b, c=d]\n',
  'map-files': 'kind: ConfigMapGenerator\nfiles: [files/app.properties, page=files/page.html]\nenvs: [files/.env]\n',
  'map-merge': 'kind: ConfigMapGenerator\nname: config\nbehavior: merge\nliterals: [level=debug]\n',
  'map-named':
    'kind: ConfigMapGenerator\nname: other\nnamespace: elsewhere\noptions: {disableNameSuffixHash: true, labels: {x: "1"}, immutable: true}\n',
  secret: 'kind: SecretGenerator\ntype: example.com/x\nliterals: [a=b]\n',
  'secret-env': 'kind: SecretGenerator\nenv: files/.env\n',
  account:
    'kind: IAMPolicyGenerator\ncloud: gke\nkubernetesService: {namespace: apps, name: account}\nserviceAccount: {name: sa, projectId: p-1}\n',
};

/** One object as a file has it, or a list item of a kustomization. */
export const objectText = (name: string, text: string): string =>
  `apiVersion: builtin\nmetadata: {name: ${name}${name.startsWith('namespace') ? ', namespace: shop-3' : ''}}\n${text}`;

/** As items of `transformers:` or `generators:`. */
export const inlineItems = (texts: readonly string[]): string =>
  texts.map((text) => `- |-\n${text.trimEnd().replace(/^/gm, '  ')}\n`).join('');
