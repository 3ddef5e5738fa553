import { afterEach, beforeEach, expect, it } from 'vitest';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { builtInKinds } from '../../../src/api/kinds.ts';
import { type NodeNetworkPolicySpec, nodeNetworkPolicies } from '../../../src/api/network/v1/node-network-policy.ts';
import { createLog } from '../../../src/base/log.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { createPolicyEnforcer, type PolicyEnforcer, sendsPolicies } from '../../../src/network-policy/enforcer.ts';
import { startSeededApi, startTestApi, type TestApi } from '../../support/api.ts';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

let api: TestApi;
let clock: ManualClock;
let enforcer: PolicyEnforcer;
let written: string[];
let refusal: Error | undefined;
const abort = new AbortController();

async function start(running: readonly { readonly uid: string; readonly ip: string }[]): Promise<void> {
  const informers = createInformerSet({ client: api.clientFor(), clock, log: createLog({ level: 'silent' }) });
  enforcer = createPolicyEnforcer({
    nodeName: 'n1',
    table: 'midship-policy-7',
    informers,
    listPods: async () => running,
    run: async (_, __, input = '') => {
      if (refusal !== undefined) throw refusal;
      written.push(input);
      return '';
    },
    clock,
    log: createLog({ level: 'silent' }),
  });
  informers.start({ signal: abort.signal });
  const started = enforcer.start({ signal: abort.signal });
  await untilDone(started);
}

/** Transactions wait for the clock. */
async function untilDone<T>(promise: Promise<T>): Promise<T> {
  let isDone = false;
  promise.then(
    () => (isDone = true),
    () => (isDone = true),
  );
  await until(
    () => {
      clock.advance(20);
      return isDone;
    },
    { what: 'the call ends' },
  );
  return promise;
}

const write = async (spec: NodeNetworkPolicySpec): Promise<void> => {
  const object = { apiVersion: 'network.midship.dev/v1', kind: 'NodeNetworkPolicy', metadata: { name: 'n1' }, spec };
  const client = api.clientFor();
  const before = await client.get(nodeNetworkPolicies, { name: 'n1' }).catch(() => undefined);
  if (before === undefined) await client.create(nodeNetworkPolicies, object);
  else await client.update(nodeNetworkPolicies, { ...before, spec });
};

beforeEach(async () => {
  api = await startSeededApi([]);
  clock = createManualClock();
  written = [];
  refusal = undefined;
  await api.clientFor().create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } });
});
afterEach(async () => {
  await enforcer.stop();
  await api.stop();
});

const closed = { pods: [{ uid: 'u1', ingress: 'ingress-1' }], ruleSets: [{ name: 'ingress-1' }] };

it('leaves a table of an earlier agent alone until the rules are known', async () => {
  await start([{ uid: 'u1', ip: '10.42.1.2' }]);
  expect(written).toEqual([]);
  await write(closed);
  await until(
    () => {
      clock.advance(20);
      return written.length > 0;
    },
    { what: 'a transaction' },
  );
  expect(written[0]).toContain('add element ip midship-policy-7 ingress-pods { 10.42.1.2 : goto ingress-1 }');
});

it('has the rules of pods that run in force when its start ends', async () => {
  await write(closed);
  await start([{ uid: 'u1', ip: '10.42.1.2' }]);
  expect(written.join('')).toContain('ingress-pods { 10.42.1.2 : goto ingress-1 }');
});

it('lets a pod start when its rules are in force, and not before', async () => {
  await write({ pods: [] });
  await start([]);
  let isAdmitted = false;
  const admitted = enforcer.admit('u1', '10.42.1.2').then(() => (isAdmitted = true));
  clock.advance(1_000);
  await new Promise((resolve) => setImmediate(resolve));
  expect(isAdmitted).toBe(false);
  await write(closed);
  await untilDone(admitted);
  expect(written.join('')).toContain('ingress-pods { 10.42.1.2 : goto ingress-1 }');
  enforcer.release('u1');
  await until(
    () => {
      clock.advance(20);
      return written.at(-1)?.includes('delete element ip midship-policy-7 ingress-pods { 10.42.1.2 }') === true;
    },
    { what: 'the rules go with the pod' },
  );
});

it('starts no pod that the control plane does not look at, and none whose rules the kernel refuses', async () => {
  await write({ pods: [] });
  await start([]);
  const late = enforcer.admit('u1', '10.42.1.2');
  late.catch(() => undefined);
  clock.advance(10_000);
  await expect(late).rejects.toThrow('did not send the network policies of the pod in 10 s');
  await write(closed);
  await until(async () => (await api.clientFor().get(nodeNetworkPolicies, { name: 'n1' })).spec?.pods?.length === 1, { what: 'the write' });
  refusal = new Error('no');
  const refused = enforcer.admit('u1', '10.42.1.2');
  refused.catch(() => undefined);
  await expect(untilDone(refused)).rejects.toThrow('could not be set');
  refusal = undefined;
});

it.each([
  ['is done without where the server is of an earlier version, and rules of the last agent go', false],
  ['is expected where the server has the kind, and rules of the last agent stay', true],
])('%s', async (_, isKnown) => {
  const lines: string[] = [];
  const kinds = builtInKinds.filter(({ resource }) => isKnown || resource !== nodeNetworkPolicies.resource);
  const server = await startTestApi({ kinds });
  const sends = await sendsPolicies({
    client: server.clientFor(),
    nodeName: 'n1',
    table: 'midship-policy-7',
    run: async (_program, _args, input = '') => {
      written.push(input);
      return '';
    },
    log: createLog({ level: 'warn', destination: { write: (line: string) => void lines.push(line) } }),
    signal: abort.signal,
  });
  expect(sends).toBe(isKnown);
  expect(written.join('').includes('delete table ip midship-policy-7')).toBe(!isKnown);
  expect(lines.join('').includes('Found no network policies of nodes on the server')).toBe(!isKnown);
  await server.stop();
});
