import { describe, expect, it } from 'vitest';
import type { Node } from '../../../src/api/core/v1/node.ts';
import { eventsOf, type NodeObservation, type NodeState, stateOf, statusOf, unknownConditions } from '../../../src/lifecycle/node.facts.ts';
import { type NodeEvent, nodeMachine } from '../../../src/lifecycle/node.machine.ts';
import { restore, step } from '../../../src/lifecycle/step.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const now = '2026-01-01T00:00:00Z';
const quiet: NodeObservation = { heartbeatLost: false, podsStillReady: false, evictionAllowed: false, evictionCalledOff: false };

function nodeWith(ready: 'True' | 'False' | 'Unknown' | undefined, spec: Node['spec'] = {}): Node {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n1', creationTimestamp: now },
    spec,
    status: { conditions: ready === undefined ? [] : [{ type: 'Ready', status: ready, lastTransitionTime: now }] },
  };
}

/** A node after the controller has acted on `state`. */
function nodeIn(state: NodeState): Node {
  const { health, schedulability, eviction } = state as Record<string, string>;
  const ready = health === 'Ready' ? 'True' : health === 'NotReady' ? 'False' : 'Unknown';
  let node = nodeWith(ready, { unschedulable: schedulability === 'Cordoned' });
  node = { ...node, spec: { ...node.spec, taints: statusOf(node, { now }) } };
  // Evictions outlast the health they were for by one pass.
  const evicting = eviction === 'Evicting' ? statusOf(nodeWith('Unknown', node.spec), { evict: true, now }) : node.spec?.taints;
  return { ...node, spec: { ...node.spec, ...(evicting === undefined ? {} : { taints: evicting }) } };
}

machineSuite({
  machine: nodeMachine,
  samples: [
    { type: 'CONDITION_TRUE' },
    { type: 'CONDITION_FALSE' },
    { type: 'CONDITION_UNKNOWN' },
    { type: 'NEVER_REPORTED' },
    { type: 'HEARTBEAT_LOST' },
    { type: 'PODS_STILL_READY' },
    { type: 'CORDONED' },
    { type: 'UNCORDONED' },
    { type: 'PRESSURE_CHANGED' },
    { type: 'EVICTION_DUE' },
    { type: 'EVICTION_OVER' },
  ],
  terminal: [],
  roundTrip: (state) => stateOf(nodeIn(state)),
});

const typesOf = (node: Node, observed: Partial<NodeObservation> = {}): string[] =>
  [...eventsOf(node, { ...quiet, ...observed })].map((event: NodeEvent) => event.type);

describe('eventsOf a node', () => {
  it('has nothing to say about a node whose taints are right', () => {
    for (const ready of ['True', 'False', 'Unknown', undefined] as const) {
      const node = nodeWith(ready);
      expect(typesOf({ ...node, spec: { taints: statusOf(node, { now }) } })).toEqual([]);
    }
  });

  it('takes silence over what the conditions say', () => {
    expect(typesOf(nodeWith('True'), { heartbeatLost: true })).toEqual(['HEARTBEAT_LOST']);
    const silent = { ...nodeWith('True'), status: { conditions: unknownConditions(nodeWith('True'), now) } };
    expect(typesOf(silent, { heartbeatLost: true })).toEqual(['CONDITION_UNKNOWN']);
  });

  it('follows cordon and pressure independently of health', () => {
    const node: Node = {
      ...nodeWith('True', { unschedulable: true }),
      status: {
        conditions: [
          { type: 'Ready', status: 'True' },
          { type: 'DiskPressure', status: 'True' },
        ],
      },
    };
    expect(typesOf(node)).toEqual(['CORDONED', 'PRESSURE_CHANGED']);
    expect(statusOf(node, { now }).map(({ key }) => key)).toEqual(['node.kubernetes.io/disk-pressure', 'node.kubernetes.io/unschedulable']);
  });

  it('evicts in turn, follows the reason, and ends when the node or the whole cluster says so', () => {
    const silent = nodeIn({ health: 'Unreachable', schedulability: 'Open', eviction: 'Keeping' } as NodeState);
    expect(typesOf(silent)).toEqual([]);
    expect(typesOf(silent, { evictionAllowed: true })).toEqual(['EVICTION_DUE']);
    const evicting = nodeIn({ health: 'Unreachable', schedulability: 'Open', eviction: 'Evicting' } as NodeState);
    expect(typesOf(evicting)).toEqual([]);
    expect(typesOf(evicting, { evictionCalledOff: true })).toEqual(['EVICTION_OVER']);
    const back = { ...evicting, status: { conditions: [{ type: 'Ready', status: 'True' }] } };
    expect(typesOf(back)).toEqual(['CONDITION_TRUE', 'EVICTION_OVER']);
    const notReady = { ...evicting, status: { conditions: [{ type: 'Ready', status: 'False' }] } };
    expect(typesOf(notReady)).toEqual(['CONDITION_FALSE', 'EVICTION_DUE']);
    expect(statusOf(notReady, { evict: true, now }).filter(({ effect }) => effect === 'NoExecute')).toEqual([
      { key: 'node.kubernetes.io/not-ready', effect: 'NoExecute', timeAdded: now },
    ]);
  });

  it('leaves taints of others alone', () => {
    const node = nodeWith('True', { taints: [{ key: 'mine', effect: 'NoSchedule' }] });
    expect(statusOf(node, { now })).toBe(node.spec?.taints);
    expect(statusOf(node, { evict: false, now })).toBe(node.spec?.taints);
  });
});

describe('unknownConditions', () => {
  it('says who stopped and who never began', () => {
    expect(unknownConditions(nodeWith('True'), now)).toMatchObject([
      { type: 'Ready', status: 'Unknown', reason: 'NodeStatusUnknown', message: 'Kubelet stopped posting node status.' },
      { type: 'MemoryPressure', status: 'Unknown', reason: 'NodeStatusNeverUpdated', message: 'Kubelet never posted node status.' },
      { type: 'DiskPressure' },
      { type: 'PIDPressure' },
    ]);
  });
});

describe('node machine', () => {
  it('marks pods once, when a ready node is lost', () => {
    const ready = restore(nodeMachine, stateOf(nodeIn({ health: 'Ready', schedulability: 'Open', eviction: 'Keeping' } as NodeState)));
    const lost = step(nodeMachine, ready, { type: 'HEARTBEAT_LOST' });
    expect(lost.intents.map(({ type }) => type)).toEqual(['markUnknown', 'setTaints', 'reportNotReady', 'markPodsNotReady']);
    expect(step(nodeMachine, lost.next, { type: 'CONDITION_FALSE' }).intents.map(({ type }) => type)).toEqual(['setTaints']);
  });
});
