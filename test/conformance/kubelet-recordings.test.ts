import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { leases } from '../../src/api/coordination/v1/lease.ts';
import { configMaps } from '../../src/api/core/v1/config-map.ts';
import { events } from '../../src/api/core/v1/event.ts';
import { type Node, nodes } from '../../src/api/core/v1/node.ts';
import { type Pod, pods } from '../../src/api/core/v1/pod.ts';
import { parseAuditPolicy } from '../../src/apiserver/audit/policy.ts';
import { createAuditLog } from '../../src/apiserver/audit.ts';
import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import { createMetrics } from '../../src/base/metrics.ts';
import { openPki } from '../../src/base/pki.ts';
import { nodeObjectOf } from '../../src/node-agent/node-object.ts';
import { createTokenSource } from '../../src/node-agent/service-account-tokens.ts';
import { temporaryDirectory } from '../support/git.ts';
import { startTestNode, testNodeName } from '../support/node-agent.ts';
import { recordedLines } from '../support/recorded-lines.ts';
import { until } from '../support/until.ts';

interface Request {
  readonly method: string;
  readonly path: string;
  readonly query?: string | null;
  readonly body?: Readonly<Record<string, unknown>>;
}

const requests = recordedLines('components', 'kubelet.samples').map((line) => (JSON.parse(line) as { readonly req: Request }).req);
/** The body of the first such request of a real kubelet. */
function recorded<T>(method: string, path: RegExp): T {
  const found = requests.find((request) => request.method === method && path.test(request.path));
  if (found?.body === undefined) throw new Error(`no recording of ${method} ${path}`);
  return found.body as T;
}

it('a Node is registered with the fields of a kubelet', () => {
  const theirs = recorded<Node>('POST', /\/nodes$/);
  const { status } = theirs;
  const { nodeInfo } = status ?? {};
  const now = Date.parse(String(status?.conditions?.[0]?.lastHeartbeatTime));
  const ours = nodeObjectOf(
    {
      name: theirs.metadata.name,
      internalIP: '192.0.2.2',
      kubeletPort: 27_250,
      capacity: status?.capacity ?? {},
      allocatable: status?.allocatable ?? {},
      labels: {},
      taints: [],
      simulated: false,
      awaitsCloud: false,
      machine: {
        architecture: 'amd64',
        bootID: '<redacted>',
        machineID: '<redacted>',
        kernelVersion: nodeInfo?.kernelVersion ?? '',
        osImage: nodeInfo?.osImage ?? '',
        cpus: 2,
        memoryKiB: 1,
        diskKiB: 1,
      },
      kubeletVersion: nodeInfo?.kubeletVersion ?? '',
      runtimeVersion: nodeInfo?.containerRuntimeVersion ?? '',
      isolation: undefined,
      pressures: [
        {
          type: 'MemoryPressure',
          status: 'False',
          reason: 'KubeletHasSufficientMemory',
          message: 'kubelet has sufficient memory available',
        },
        { type: 'DiskPressure', status: 'False', reason: 'KubeletHasNoDiskPressure', message: 'kubelet has no disk pressure' },
        { type: 'PIDPressure', status: 'False', reason: 'KubeletHasSufficientPID', message: 'kubelet has sufficient PID available' },
      ],
      conditions: [],
      notReady: 'CSINode is not yet initialized',
    },
    now,
  );
  // A kubelet lists images and features of its own, which nothing here reads.
  const { images, declaredFeatures, ...read } = { ...status } as Record<string, unknown>;
  expect([images, declaredFeatures].every(Array.isArray)).toBe(true);
  expect(ours).toEqual({ ...theirs, status: read });
});

it('a Lease, an Event and the conditions of a pod are those of a kubelet', async () => {
  const node = await startTestNode();
  try {
    const { client } = node;
    const theirLease = recorded<Record<string, Record<string, unknown>>>('POST', /\/leases$/);
    const lease = await client.get(leases, { namespace: 'kube-node-lease', name: testNodeName });
    const { uid } = (await client.get(nodes, { name: testNodeName })).metadata;
    expect(Object.keys(lease.spec ?? {}).sort()).toEqual(Object.keys(theirLease.spec ?? {}).sort());
    expect(lease.spec).toMatchObject({ holderIdentity: testNodeName, leaseDurationSeconds: theirLease.spec?.leaseDurationSeconds });
    expect(lease.metadata.ownerReferences).toEqual([{ apiVersion: 'v1', kind: 'Node', name: testNodeName, uid }]);

    const theirEvent = recorded<Record<string, Record<string, unknown>>>('POST', /\/events$/);
    const startings = async () => (await client.list(events, { namespace: 'default' })).items.filter(({ reason }) => reason === 'Starting');
    const [event] = await until(async () => ((await startings()).length > 0 ? startings() : undefined), { what: 'the first Event' });
    const name = String(theirEvent.involvedObject?.name);
    const named = JSON.parse(JSON.stringify(theirEvent).replaceAll(name, testNodeName)) as Record<string, unknown>;
    const shared = ['reason', 'message', 'source', 'count', 'type', 'reportingComponent', 'reportingInstance'] as const;
    expect(shared.map((field) => [field, event?.[field]])).toEqual(shared.map((field) => [field, named[field]]));
    expect(event?.involvedObject).toMatchObject(named.involvedObject as object);

    // The conditions of the first status of a pod, in their order.
    const patch = recorded<{ readonly status: Record<string, readonly { readonly type: string }[]> }>('PATCH', /\/pods\/[^/]+\/status$/);
    await node.run({ name: 'short', restartPolicy: 'Never', containers: [{ name: 'main', image: 'host/none', command: ['true'] }] });
    const pod = await node.pod('short', 'its conditions', ({ status }) => (status?.conditions?.length ?? 0) > 1);
    const theirTypes = (patch.status['$setElementOrder/conditions'] ?? []).map(({ type }) => type);
    expect(pod.status?.conditions?.map(({ type }) => type).sort()).toEqual([...theirTypes].sort());
    expect(pod.status?.hostIPs?.length).toBe(1);
    await client.delete(pods, { namespace: 'default', name: 'short' });
    await node.gone('short');
  } finally {
    await node.stop();
  }
});

/** `METHOD PATH?QUERY` without names and times. */
function templateOf(method: string, path: string, query: string): string {
  const parts = path.split('/').map((part, index, all) => {
    const before = all[index - 1] ?? '';
    const collections = ['namespaces', 'nodes', 'pods', 'events', 'leases', 'csinodes', 'serviceaccounts', 'runtimeclasses', 'configmaps'];
    return collections.includes(before) ? '*' : part;
  });
  const kept = [...new URLSearchParams(query)].filter(([name]) => !/^timeout/.test(name)).map(([name, value]) => `${name}=${value}`);
  const shown = kept
    .sort()
    .join('&')
    .replace(/resourceVersion=\d+/, 'resourceVersion=N');
  return `${method} ${parts.join('/')}${shown === '' ? '' : `?${shown.replace(/metadata\.name=[^&]+|spec\.nodeName=[^&]+/, (text) => `${text.split('=')[0]}=*`)}`}`;
}

const watchOf = (path: string): string => `GET ${path}&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=true`;
/** The requests of a list, and of the watch that goes on from it. */
const followOf = (path: string, selector = ''): readonly string[] => [
  `GET ${path}?${selector === '' ? '' : `${selector}&`}limit=500`,
  `GET ${path}?allowWatchBookmarks=true${selector === '' ? '' : `&${selector}`}&resourceVersion=N&watch=true`,
];
const mapped = (ours: readonly string[], ...theirs: readonly string[]) => Object.fromEntries(ours.map((each) => [each, theirs]));

/** Requests of the agent, and those of a kubelet that they replace. */
const instead: Readonly<Record<string, readonly string[]>> = {
  ...mapped(
    followOf('/api/v1/pods', 'fieldSelector=spec.nodeName=*'),
    watchOf('/api/v1/pods?allowWatchBookmarks=true&fieldSelector=spec.nodeName=*'),
  ),
  ...mapped(followOf('/api/v1/services'), watchOf('/api/v1/services?allowWatchBookmarks=true&fieldSelector=spec.clusterIP!=None')),
  ...mapped(
    followOf('/api/v1/namespaces/*/configmaps', 'fieldSelector=metadata.name=*'),
    watchOf('/api/v1/namespaces/*/configmaps?allowWatchBookmarks=true&fieldSelector=metadata.name=*'),
    // The same code; the pod of this test names no Secret.
    watchOf('/api/v1/namespaces/*/secrets?allowWatchBookmarks=true&fieldSelector=metadata.name=*'),
  ),
  ...mapped(followOf('/apis/discovery.k8s.io/v1/endpointslices')),
  'GET /api/v1/nodes/*': [watchOf('/api/v1/nodes?allowWatchBookmarks=true&fieldSelector=metadata.name=*')],
  'GET /apis/coordination.k8s.io/v1/namespaces/*/leases/*': [],
  'GET /apis/storage.k8s.io/v1/csinodes/*': [],
  'PUT /api/v1/namespaces/*/pods/*/status': ['PATCH /api/v1/namespaces/*/pods/*/status'],
  'PUT /api/v1/nodes/*/status': ['PATCH /api/v1/nodes/*/status'],
};
/** Requests of a kubelet that the agent has no reason for. */
const absent: readonly string[] = [
  watchOf('/apis/storage.k8s.io/v1/csidrivers?allowWatchBookmarks=true'),
  watchOf('/apis/node.k8s.io/v1/runtimeclasses?allowWatchBookmarks=true'),
  'DELETE /apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName=*',
  'POST /apis/authorization.k8s.io/v1/subjectaccessreviews',
];

/** Paths of the fields of a body; an entry of a list has the path of the list. */
function fieldsOf(value: unknown, path = ''): readonly string[] {
  if (typeof value !== 'object' || value === null) return [path];
  const entries = Array.isArray(value) ? value.map((each) => ['', each] as const) : Object.entries(value);
  return [...new Set(entries.flatMap(([name, each]) => fieldsOf(each, name === '' ? path : `${path}/${name}`)))].sort();
}

const methodOf: Readonly<Record<string, string>> = {
  create: 'POST',
  update: 'PUT',
  patch: 'PATCH',
  delete: 'DELETE',
  deletecollection: 'DELETE',
};

it('an agent that joined asks the server for the same things as a kubelet', async () => {
  const directory = await temporaryDirectory('audit');
  const path = join(directory, 'audit.log');
  const log = createLog({ level: 'silent' });
  const policy = parseAuditPolicy(
    'apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{ level: Request }]\n',
  );
  const audit = createAuditLog({ path, policy, clock: systemClock, log, metrics: createMetrics() });
  const signingKey = await (await openPki({ directory, clock: systemClock })).signingKey();
  const node = await startTestNode({ server: { audit }, api: { signingKey }, agent: { kubeletDirectory: join(directory, 'kubelet') } });
  const { client } = node;
  // The token, authority and namespace that every pod gets.
  await client.create(configMaps, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'kube-root-ca.crt', namespace: 'default' },
    data: { 'ca.crt': 'x' },
  });
  const main = { name: 'main', image: 'host/sh', command: ['sh', '-c', 'sleep 600'] };
  await node.run({ name: 'asks', terminationGracePeriodSeconds: 1, containers: [main] });
  const asks = await node.pod('asks', 'it runs', ({ status }) => status?.phase === 'Running');
  // The second start of a program says the same as the first: the Event of it is counted.
  await node.run({ name: 'repeats', terminationGracePeriodSeconds: 1, containers: [{ ...main, command: ['sh', '-c', 'exit 0'] }] });
  const started = async () => (await client.list(events, { namespace: 'default' })).items.filter(({ reason }) => reason === 'Started');
  await until(async () => (await started()).some(({ count }) => count === 2), { what: 'the second start' });
  for (const name of ['asks', 'repeats']) {
    await client.delete(pods, { namespace: 'default', name });
    await node.gone(name);
  }
  // The Node has news, and its Lease is renewed with it.
  await node.agent.shutDown({ allMs: 0, criticalMs: 0 });
  await node.stop();
  await audit.stop();
  const lines = (await readFile(path, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as AuditLine);
  const ours = new Set(
    lines.map(({ verb, requestURI }) => {
      const [path = '', query = ''] = requestURI.split('?');
      return templateOf(methodOf[verb] ?? 'GET', path, query);
    }),
  );
  const theirs = new Set(requests.map(({ method, path, query }) => templateOf(method, path, query ?? '')));
  const replaced = new Set(Object.values(instead).flat());
  expect([...ours].filter((each) => !theirs.has(each) && !(each in instead))).toEqual([]);
  expect([...theirs].filter((each) => !ours.has(each) && !replaced.has(each) && !absent.includes(each))).toEqual([]);
  // The README of `nodes` explains each difference, and none that is none any more.
  expect(Object.keys(instead).filter((each) => !ours.has(each) || theirs.has(each))).toEqual([]);
  expect([...replaced, ...absent].filter((each) => ours.has(each) || !theirs.has(each))).toEqual([]);

  const bodyOf = (verb: string, path: RegExp) => lines.find((line) => line.verb === verb && path.test(line.requestURI))?.requestObject;
  const migrated = '/metadata/annotations/storage.alpha.kubernetes.io/migrated-plugins';
  const theirCsiNode = fieldsOf(recorded('POST', /\/csinodes$/)).filter((field) => field !== migrated);
  expect(fieldsOf(bodyOf('create', /\/csinodes$/))).toEqual(theirCsiNode);
  const one = /\/pods\/[^/?]+$/;
  const theirDeletion = recorded<Record<string, unknown>>('DELETE', one);
  expect(bodyOf('delete', one)).toEqual({ ...theirDeletion, preconditions: { uid: expect.any(String) } });
  const ofStatus = /\/pods\/[^/]+\/status$/;
  const theirStatus = recorded<{ readonly status: object }>('PATCH', ofStatus).status;
  const ourStatus = (bodyOf('update', ofStatus) as { readonly status: object }).status;
  // The audit log has no body of a token.
  const theirToken = recorded<TokenBody>('POST', /\/serviceaccounts\/[^/]+\/token$/);
  expect(await tokenRequestFor(asks)).toEqual({
    ...theirToken,
    spec: { ...theirToken.spec, boundObjectRef: { ...theirToken.spec.boundObjectRef, name: 'asks', uid: asks.metadata.uid } },
  });
  const ofLease = /\/leases\/[^/]+$/;
  const ourLease = bodyOf('update', ofLease) as LeaseBody;
  const theirLease = recorded<LeaseBody>('PUT', ofLease);
  const renewed = { holderIdentity: testNodeName, renewTime: expect.stringMatching(/\.\d{6}Z$/) };
  expect(ourLease.spec).toEqual({ ...theirLease.spec, ...renewed });
  expect(Object.keys(ourLease.metadata).sort()).toEqual(Object.keys(theirLease.metadata).sort());
  const ofEvent = /\/events\/[^/]+$/;
  const time = { lastTimestamp: expect.stringMatching(/:\d\dZ$/), message: expect.any(String) };
  expect(bodyOf('patch', ofEvent)).toEqual({ ...recorded<object>('PATCH', ofEvent), ...time });
  // Orders are a part of patches alone.
  expect(fieldsOf(theirStatus).filter((field) => !fieldsOf(ourStatus).includes(field) && !field.startsWith('/$'))).toEqual([]);
});

/** The body by which the agent asks for the token of a pod, with the null and the empty status that Go writes for nothing. */
async function tokenRequestFor(pod: Pod): Promise<object> {
  const asked: TokenBody[] = [];
  const createSubresource = async (_kind: unknown, _account: unknown, _name: unknown, body: TokenBody) => {
    asked.push(body);
    return { status: { token: 't', expirationTimestamp: '2030-01-01T00:00:00Z' } };
  };
  const tokens = createTokenSource({ client: { createSubresource } as never, clock: systemClock });
  const sources = (pod.spec.volumes ?? []).flatMap(({ projected }) => projected?.sources ?? []);
  for (const { serviceAccountToken } of sources) if (serviceAccountToken !== undefined) await tokens.tokenOf(pod, serviceAccountToken);
  const [body] = asked;
  if (body === undefined) throw new Error('the pod has no token');
  expect(body.spec.audiences).toEqual([]);
  return { ...body, spec: { ...body.spec, audiences: null }, status: { token: '', expirationTimestamp: null } };
}

interface TokenBody {
  readonly spec: { readonly audiences: readonly string[] | null; readonly boundObjectRef: object };
}

interface LeaseBody {
  readonly metadata: object;
  readonly spec: object;
}

interface AuditLine {
  readonly verb: string;
  readonly requestURI: string;
  readonly requestObject?: unknown;
}
