import { expect, it } from 'vitest';
import type { Node } from '../../../src/api/core/v1/node.ts';
import { createLog } from '../../../src/base/log.ts';
import type { Client } from '../../../src/client/client.ts';
import { createHeartbeat } from '../../../src/node-agent/heartbeat.ts';
import type { NodeDescription } from '../../../src/node-agent/node-object.ts';
import { createManualClock } from '../../support/manual-clock.ts';

const never = new Promise<never>(() => undefined);

/** A node with an API that keeps its last status, until it answers no more. */
async function start() {
  const clock = createManualClock();
  const described = { notReady: undefined as string | undefined };
  let isSilent = false;
  let node: Node | undefined;
  const answer = async <T>(value: T): Promise<T> => (isSilent ? never : value);
  const write = (_: unknown, object: Node) => {
    if (object.kind === 'Node' && !isSilent) node = object;
    return answer(object);
  };
  const client = { create: write, update: write, get: () => answer(node) } as unknown as Client;
  const description: Partial<NodeDescription> = { name: 'a', kubeletPort: 0, capacity: {}, allocatable: {}, labels: {}, taints: [] };
  const heartbeat = createHeartbeat({
    client,
    describe: () => ({ ...description, pressures: [], conditions: [], machine: {}, ...described }) as unknown as NodeDescription,
    clock,
    log: createLog({ level: 'silent' }),
    random: () => 0,
  });
  return {
    heartbeat,
    clock,
    described,
    silence() {
      isSilent = true;
    },
    ready: () => node?.status?.conditions?.find(({ type }) => type === 'Ready'),
  };
}

const { signal } = new AbortController();
const settle = () => new Promise((resolve) => setImmediate(resolve));

it('a node that leaves says so in its last report, after which no beat follows', async () => {
  const { heartbeat, clock, described, ready } = await start();
  await heartbeat.leave();
  expect(ready()).toBeUndefined();
  await heartbeat.start(signal);
  expect(ready()).toMatchObject({ status: 'True' });
  described.notReady = 'node is shutting down';
  await heartbeat.leave();
  expect(ready()).toMatchObject({ status: 'False', reason: 'KubeletNotReady', message: 'node is shutting down' });
  await heartbeat.stop();
  expect(clock.pending).toBe(0);
});

it.each([
  ['that answers no more', false],
  ['that did not answer the beat under way either', true],
])('a node leaves an API %s after 3 s', async (_, isBeating) => {
  const { heartbeat, clock, silence } = await start();
  await heartbeat.start(signal);
  silence();
  if (isBeating) {
    clock.advance(11_000);
    await settle();
  }
  let hasLeft = false;
  const leaving = heartbeat
    .leave()
    .then(() => heartbeat.stop())
    .then(() => {
      hasLeft = true;
    });
  await settle();
  clock.advance(2_999);
  await settle();
  expect(hasLeft).toBe(false);
  clock.advance(1);
  await settle();
  expect(hasLeft).toBe(true);
  await leaving;
});
