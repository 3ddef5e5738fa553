// Objects of the machines that join.
import { announcerOf } from '../../src/node-agent/network/announcer-election.ts';
import { busyboxImage } from '../support/containerd.ts';

export const web = `
apiVersion: v1
kind: ConfigMap
metadata: { name: page }
data:
  index.html: "hello across machines"
  caller: |
    #!/bin/sh
    printf 'Content-Type: text/plain\\n\\n%s\\n' "$REMOTE_ADDR"
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 6
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 2
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: DoNotSchedule
          labelSelector: { matchLabels: { app: web } }
      containers:
        - name: web
          image: ${busyboxImage}
          imagePullPolicy: IfNotPresent
          command: [sh, -c, 'echo begun; trap "exit 0" TERM; httpd -p 8080 -h /www; while :; do sleep 0.1; done']
          readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 1 }
          volumeMounts: [{ name: page, mountPath: /www }]
      volumes:
        - name: page
          configMap:
            name: page
            items: [{ key: index.html, path: index.html }, { key: caller, path: cgi-bin/caller, mode: 0755 }]
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
`;

export const policy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web }
spec:
  podSelector: { matchLabels: { app: web } }
  ingress:
    - from: [{ podSelector: { matchLabels: { role: client } } }]
      ports: [{ port: 8080 }]
`;

export const ingress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: web }
spec:
  tls: [{ hosts: [web.example], secretName: web }]
  rules:
    - host: web.example
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] }
`;

export const balanced = `
apiVersion: v1
kind: Service
metadata: { name: balanced }
spec: { type: LoadBalancer, selector: { app: web }, ports: [{ port: 8088, targetPort: 8080 }] }
`;

/** Pods of the third machine: one uses more memory than it requests, one less, and one requests none. */
const ofThird = (name: string, request: string | undefined, script: string, spec = ''): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name} }
spec:
  terminationGracePeriodSeconds: 0
  ${spec === '' ? 'nodeSelector: { kubernetes.io/hostname: third }' : spec}
  containers:
    - name: main
      image: ${busyboxImage}
      imagePullPolicy: IfNotPresent
      command: [sh, -c, '${script}; sleep 1000']
      resources: { requests: { ${request === undefined ? '' : `memory: ${request}`} } }
---`;
export const memoryPods = [
  ofThird('hungry', '1Mi', 'dd if=/dev/zero of=/dev/shm/file bs=1M count=24'),
  ofThird('modest', '64Mi', 'true'),
].join('');
export const latePods = [
  ofThird('refused', undefined, 'true', 'nodeName: third'),
  ofThird('burstable', '16Mi', 'true', 'nodeName: third'),
].join('');

/** A program of the pod, in the list of processes of this machine. */
export const marker = `mover-${process.pid}`;

/** A pod on each machine. The image has no server of UDP, so the test starts one in the network of each. */
export const udp = ['first', 'second']
  .map(
    (node) => `
apiVersion: v1
kind: Pod
metadata: { name: udp-${node}, labels: { app: udp } }
spec:
  nodeName: ${node}
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: ${busyboxImage}
      imagePullPolicy: IfNotPresent
      command: [sh, -c, 'name=${marker}-udp-${node}; trap "exit 0" TERM; while :; do sleep 0.2; done']
---`,
  )
  .concat(`
apiVersion: v1
kind: Service
metadata: { name: udp }
spec: { type: NodePort, selector: { app: udp }, ports: [{ port: 5353, protocol: UDP, nodePort: 30553 }] }
`)
  .join('');

/** An address that the second machine announces, as long as it is there. */
export const poolAddress =
  Array.from({ length: 100 }, (_, index) => `10.201.0.${100 + index}`).find(
    (address) => announcerOf(address, ['first', 'second', 'third']) === 'second',
  ) ?? '';

/** A pod that likes the second machine best, and leaves a lost one soon. */
export const mover = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: mover }
spec:
  selector: { matchLabels: { app: mover } }
  template:
    metadata: { labels: { app: mover } }
    spec:
      terminationGracePeriodSeconds: 1
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 100
              preference: { matchExpressions: [{ key: kubernetes.io/hostname, operator: In, values: [second] }] }
      tolerations:
        - { key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1 }
        - { key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1 }
      containers:
        - name: mover
          image: ${busyboxImage}
          imagePullPolicy: IfNotPresent
          command: [sh, -c, 'name=${marker}; trap "exit 0" TERM; while :; do sleep 0.2; done']
`;
