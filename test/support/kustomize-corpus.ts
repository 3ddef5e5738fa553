import type { Files } from './kustomize.ts';

/** Objects of every kind that the fields of a kustomization know something about. */
export const corpusFiles: Files = {
  'workloads.yaml': `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 1
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      serviceAccountName: web
      priorityClassName: high
      imagePullSecrets: [{name: pull}]
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - labelSelector:
              matchLabels: {app: web}
            topologyKey: kubernetes.io/hostname
      initContainers:
      - name: init
        image: registry.example.com:5000/tools/init:1.0
        command: ["sh", "-c", "echo $(SERVICE)"]
      containers:
      - name: web
        image: nginx:1.25
        args: ["--name=$(SERVICE)", "$$(SERVICE)", "$(OTHER)"]
        ports:
        - containerPort: 80
        - containerPort: 443
          protocol: TCP
        envFrom:
        - configMapRef: {name: config}
        - secretRef: {name: credentials}
        env:
        - name: LEVEL
          valueFrom: {configMapKeyRef: {name: config, key: level}}
        - name: TOKEN
          valueFrom: {secretKeyRef: {name: credentials, key: token}}
        - name: SERVICE
          value: $(SERVICE)
      - name: side
        image: busybox@sha256:0000000000000000000000000000000000000000000000000000000000000000
      volumes:
      - name: config
        configMap: {name: config}
      - name: all
        projected:
          sources:
          - configMap: {name: config}
          - secret: {name: credentials}
      - name: data
        persistentVolumeClaim: {claimName: data}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: db
spec:
  serviceName: db
  selector:
    matchLabels: {app: db}
  template:
    metadata:
      labels: {app: db}
    spec:
      containers:
      - name: db
        image: postgres
        env:
        - {name: A, value: "1"}
        - {name: B, value: "2"}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      storageClassName: fast
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 1Gi}}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: report
spec:
  schedule: "0 * * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - name: report
            image: nginx
            envFrom: [{configMapRef: {name: config}}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: once, image: "nginx:latest"}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}, annotations: {a: b}}
    spec:
      containers: [{name: agent, image: agent}]
---
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: other}
spec:
  containers:
  - name: bare
    image: nginx:1.25
    envFrom: [{configMapRef: {name: config}}]
`,
  'config.yaml': `apiVersion: v1
kind: ConfigMap
metadata: {name: config}
data: {level: info, flag: yes, number: "1"}
---
apiVersion: v1
kind: Secret
metadata: {name: credentials}
type: Opaque
stringData: {token: secret}
---
apiVersion: v1
kind: Secret
metadata: {name: pull}
type: kubernetes.io/dockerconfigjson
data: {}
`,
  'network.yaml': `apiVersion: v1
kind: Service
metadata:
  name: web
  annotations: {note: "a: b"}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 80}
  - {name: https, port: 443, targetPort: 443, protocol: TCP}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations:
    nginx.ingress.kubernetes.io/auth-secret: credentials
spec:
  tls: [{hosts: [web.example.com], secretName: credentials}]
  rules:
  - host: web.example.com
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: web, port: {number: 80}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 5
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
`,
  'access.yaml': `apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
imagePullSecrets: [{name: pull}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [configmaps], resourceNames: [config, absent], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [secrets], resourceNames: [credentials], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects:
- {kind: ServiceAccount, name: web, namespace: default}
- {kind: ServiceAccount, name: default, namespace: default}
- {kind: User, name: mara}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects:
- {kind: ServiceAccount, name: web, namespace: default}
`,
  'cluster.yaml': `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: fast}
provisioner: example.com/disk
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 100
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  storageClassName: fast
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.example.com}
spec:
  group: example.com
  names: {kind: Gadget, plural: gadgets}
  scope: Namespaced
  versions: []
---
apiVersion: example.com/v1
kind: Gadget
metadata: {name: gadget}
spec:
  configRef: config
  size: 1
  containers:
  - {name: inner, image: "nginx:1.0"}
  list:
  - {name: one, value: 1}
  - {name: two, value: 2}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: hook}
webhooks:
- name: hook.example.com
  clientConfig: {service: {name: web, namespace: default, path: /check}}
  admissionReviewVersions: [v1]
  sideEffects: None
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata:
    name: listed
    annotations: {internal: "true"}
  data: {a: "1"}
- apiVersion: v1
  kind: ConfigMap
  metadata:
    name: local
    annotations: {config.kubernetes.io/local-config: "true"}
`,
  'files/app.properties': 'color=blue\nsize=3\n',
  'files/.env': '# comment\nUSER=mara\n  PADDED=  two words\nEMPTY=\nURL=http://x/?a=b\n',
  'files/page.html': '<p>a & b</p>\n',
  'patch-web.yaml': `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - name: extra
        image: extra:1
      - name: web
        ports:
        - containerPort: 8080
          name: alt
        env:
        - name: LEVEL
          value: debug
          valueFrom: null
        - name: NEW
          value: "1"
      volumes:
      - name: data
        $patch: delete
      - name: scratch
        emptyDir: {}
`,
  'patch-json.yaml': `- op: replace
  path: /spec/replicas
  value: 7
- op: add
  path: /spec/template/spec/containers/0/args/-
  value: --verbose
- op: remove
  path: /metadata/labels/app
`,
  'replacement.yaml': `source: {kind: Service, name: web, fieldPath: metadata.name}
targets:
- select: {kind: Gadget}
  fieldPaths: [spec.configRef]
`,
  'fields.yaml': `nameReference:
- {kind: ConfigMap, version: v1, fieldSpecs: [{kind: Gadget, path: spec/configRef}]}
namePrefix: [{kind: Gadget, path: spec/list/name}]
commonLabels: [{kind: Gadget, path: spec/selector, create: true}]
commonAnnotations: [{kind: Gadget, path: spec/notes, create: true}]
namespace: [{kind: Gadget, path: spec/place, create: true}]
replicas: [{kind: Gadget, path: spec/size}]
varReference: [{kind: Gadget, path: spec/made/port}]
`,
  'definitions.yaml': `example.com/v1.Gadget:
  Schema: {properties: {kind: {}, apiVersion: {}, metadata: {}, spec: {$ref: example.com/v1.GadgetSpec}}}
example.com/v1.GadgetSpec:
  Schema:
    properties:
      selector: {x-kubernetes-label-selector: ""}
      notes: {x-kubernetes-annotation: ""}
      configRef: {x-kubernetes-object-ref-api-version: v1, x-kubernetes-object-ref-kind: ConfigMap}
`,
  'schema.yaml': `definitions:
  com.example.v1.Gadget:
    x-kubernetes-group-version-kind: [{group: example.com, version: v1, kind: Gadget}]
    properties:
      spec:
        properties:
          list: {type: array, items: {type: object}, x-kubernetes-patch-strategy: merge, x-kubernetes-patch-merge-key: name}
`,
};

export const corpusResources = 'resources: [workloads.yaml, config.yaml, network.yaml, access.yaml, cluster.yaml]\n';

/** One field of a kustomization each, some in several ways. */
export const corpusFields: Readonly<Record<string, string>> = {
  namespace: 'namespace: shop-2\n',
  namePrefix: 'namePrefix: pre-\n',
  nameSuffix: 'nameSuffix: -suf\n',
  labels: 'labels:\n- pairs: {team: a}\n',
  labelsWithSelectors: 'labels:\n- pairs: {team: b}\n  includeSelectors: true\n',
  labelsWithTemplates:
    'labels:\n- pairs: {team: c}\n  includeTemplates: true\n  fields: [{path: spec/owner, kind: Gadget, create: true}]\n',
  commonLabels: 'commonLabels: {tier: front, "n/x": "1"}\n',
  commonAnnotations: 'commonAnnotations: {who: mara, note: "1"}\n',
  images:
    'images:\n- {name: nginx, newTag: "2.0"}\n- {name: registry.example.com:5000/tools/init, newName: other/init}\n- {name: busybox, newName: bb, newTag: "1"}\n- {name: postgres, digest: "sha256:abc"}\n- {name: agent, newTag: v1, digest: "sha256:def"}\n',
  replicas: 'replicas:\n- {name: web, count: 4}\n- {name: db, count: 0}\n',
  patchFile: 'patches:\n- path: patch-web.yaml\n',
  patchJson: 'patches:\n- path: patch-json.yaml\n  target: {kind: Deployment, name: w.b}\n',
  patchInline:
    'patches:\n- patch: |-\n    apiVersion: v1\n    kind: Service\n    metadata: {name: web}\n    spec:\n      ports:\n      - {port: 80, nodePort: 30080}\n      - {port: 9090, name: metrics}\n      type: NodePort\n    ---\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: config}\n    data: {level: null, more: "2"}\n',
  patchTarget:
    'patches:\n- target: {kind: Deployment|StatefulSet, labelSelector: "app"}\n  patch: |-\n    kind: any\n    apiVersion: v1\n    metadata: {name: any, annotations: {patched: "1"}}\n',
  patchAnnotationTarget:
    'patches:\n- target: {annotationSelector: note}\n  patch: |-\n    [{"op": "add", "path": "/metadata/labels", "value": {"z": "1"}}]\n',
  patchDelete: 'patches:\n- patch: |-\n    $patch: delete\n    apiVersion: v1\n    kind: Service\n    metadata: {name: db}\n',
  patchReplace:
    'patches:\n- patch: |-\n    apiVersion: apps/v1\n    kind: StatefulSet\n    metadata: {name: db}\n    spec:\n      template:\n        metadata:\n          $patch: replace\n          labels: {app: db, x: "1"}\n        spec:\n          containers:\n          - name: db\n            env:\n            - $patch: replace\n            - {name: C, value: "3"}\n',
  patchCustom:
    'patches:\n- patch: |-\n    apiVersion: example.com/v1\n    kind: Gadget\n    metadata: {name: gadget}\n    spec: {size: 2, list: [{name: two, value: 3}]}\n',
  patchRename:
    'patches:\n- target: {kind: ConfigMap, name: config}\n  options: {allowNameChange: true}\n  patch: |-\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: renamed}\n',
  patchesStrategicMerge:
    'patchesStrategicMerge:\n- |-\n  apiVersion: apps/v1\n  kind: DaemonSet\n  metadata: {name: agent}\n  spec: {template: {spec: {hostNetwork: true, containers: [{name: agent, image: "agent:2"}]}}}\n',
  patchesJson6902:
    'patchesJson6902:\n- target: {version: v1, kind: Service, name: web}\n  patch: |-\n    - {op: add, path: /spec/ports/0/nodePort, value: 30000}\n    - {op: move, from: /spec/ports/1, path: /spec/ports/0}\n',
  configMapGenerator:
    'configMapGenerator:\n- name: generated\n  literals: [a=1, "b=\'quoted\'", c=x=y]\n  files: [files/app.properties, page=files/page.html]\n  envs: [files/.env]\n- name: fixed\n  literals: [a=1]\n  options: {disableNameSuffixHash: true, labels: {l: "1"}, annotations: {note: "2"}, immutable: true}\n',
  configMapMerge: 'configMapGenerator:\n- name: config\n  behavior: merge\n  literals: [level=debug, extra=1]\n',
  configMapReplace: 'configMapGenerator:\n- name: config\n  behavior: replace\n  literals: [only=1]\n  options: {labels: {g: "1"}}\n',
  secretGenerator:
    'secretGenerator:\n- name: made\n  type: kubernetes.io/tls\n  literals: [tls.crt=a, "tls.key=<b>&"]\n  namespace: other\n- name: plain\n  envs: [files/.env]\n',
  generatorOptions:
    'generatorOptions: {disableNameSuffixHash: true, labels: {made: here}, annotations: {made: here}}\nconfigMapGenerator:\n- name: optioned\n  literals: [a=1]\n  options: {labels: {own: "1"}}\n',
  replacements:
    'replacements:\n- source: {kind: Service, name: web, fieldPath: spec.ports.0.port}\n  targets:\n  - select: {kind: Deployment, name: web}\n    fieldPaths: ["spec.template.spec.containers.[name=web].env.[name=SERVICE].value", spec.replicas]\n- source: {kind: Service, name: web, fieldPath: spec.ports.0.name}\n  targets:\n  - select: {kind: Gadget}\n    fieldPaths: [spec.made.port]\n    options: {create: true}\n- source: {kind: ConfigMap, name: config, fieldPath: data.level}\n  targets:\n  - select: {kind: Deployment}\n    fieldPaths: [spec.template.spec.containers.*.image]\n    options: {delimiter: ":", index: 1}\n    reject: [{name: nobody}]\n  - select: {kind: Ingress}\n    fieldPaths: ["metadata.annotations.[nginx.ingress.kubernetes.io/auth-secret]"]\n- path: replacement.yaml\n',
  vars: 'vars:\n- name: SERVICE\n  objref: {kind: Service, name: web, apiVersion: v1}\n- name: UNUSED\n  objref: {kind: ConfigMap, name: config, apiVersion: v1}\n  fieldref: {fieldpath: data.level}\n',
  originAnnotations: 'buildMetadata: [originAnnotations]\n',
  configurations: 'configurations: [fields.yaml]\n',
  crds: 'crds: [definitions.yaml]\n',
  openapi: 'openapi: {path: schema.yaml}\n',
  managedByLabel: 'buildMetadata: [managedByLabel]\n',
  sortFifo: 'sortOptions: {order: fifo}\n',
  sortLegacy: 'sortOptions: {order: legacy, legacySortOptions: {orderFirst: [Secret, Namespace], orderLast: [Deployment]}}\n',
};

/** For comparison alone: a later patch makes kustomize write the number that this creates as a string. */
export const createdNumber =
  'replacements:\n- source: {kind: Service, name: web, fieldPath: spec.ports.1.port}\n  targets:\n  - select: {kind: StatefulSet}\n    fieldPaths: ["spec.template.spec.containers.[name=db].ports.0.containerPort", metadata.annotations.port]\n    options: {create: true}\n';

/** Both fields in one file: lists of the same field follow each other. Undefined where a field holds one value. */
export function mergeFields(first: string, second: string): string | undefined {
  const key = (text: string): string => text.slice(0, text.indexOf(':'));
  const keys = new Map<string, string>();
  for (const part of [first, second].flatMap((text) => text.split(/\n(?=[a-zA-Z])/))) {
    const text = part.endsWith('\n') ? part : `${part}\n`;
    const known = keys.get(key(text));
    if (known === undefined) keys.set(key(text), text);
    else if (known.startsWith(`${key(text)}:\n- `) && text.startsWith(`${key(text)}:\n- `)) {
      keys.set(key(text), known + text.slice(text.indexOf('\n') + 1));
    } else return undefined;
  }
  return [...keys.values()].join('');
}
