import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { Node } from '../../../../src/api/core/v1/node.ts';
import { createEvictions } from '../../../../src/controllers/node-lifecycle/evictions.ts';
import { nodeOf } from '../../../support/cluster-objects.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

function nodeWith(name: string, ready: 'True' | 'False' | 'Unknown'): Node {
  const node = nodeOf(name);
  return { ...node, status: { ...node.status, conditions: [{ type: 'Ready', status: ready }] } };
}

function start() {
  const turns: boolean[] = [];
  const clock = createManualClock();
  const evictions = createEvictions({
    clock,
    log: pino({ level: 'silent' }),
    evictionsPerSecond: 0.1,
    onTurn: ({ isCalledOff }) => void turns.push(isCalledOff),
  });
  const judge = (ready: Parameters<typeof nodeWith>[1], ...names: readonly string[]) => {
    for (const name of names) evictions.judge(nodeWith(name, ready));
  };
  return { clock, evictions, judge, turns };
}

describe('evictions', () => {
  it('begin with one lost node, and with the next one ten seconds later', () => {
    const { clock, evictions, judge } = start();
    judge('True', 'a', 'b', 'c', 'd', 'e');
    judge('Unknown', 'a', 'b');
    expect(evictions.takeDue()).toEqual(['a']);
    expect([evictions.isDue('a'), evictions.isDue('b')]).toEqual([true, false]);
    expect(evictions.takeDue()).toEqual([]);
    clock.advance(10_000);
    expect(evictions.takeDue()).toEqual(['b']);
    evictions.noteTainted('a');
    expect(evictions.isDue('a')).toBe(false);
  });

  it('do not come to a node that is ready again in time', () => {
    const { evictions, judge } = start();
    judge('True', 'a', 'b', 'c');
    judge('Unknown', 'a');
    expect(evictions.isUnreachable('a')).toBe(true);
    judge('True', 'a');
    expect(evictions.isUnreachable('a')).toBe(false);
    expect(evictions.takeDue()).toEqual([]);
  });

  it('are called off while no node is ready, also those that were due, and resume with the first that is', () => {
    const { evictions, judge, turns } = start();
    judge('True', 'a', 'b', 'c');
    judge('False', 'a');
    expect(evictions.takeDue()).toEqual(['a']);
    judge('False', 'b', 'c');
    expect([evictions.isCalledOff, evictions.isDue('a'), turns]).toEqual([true, false, [true]]);
    expect(evictions.takeDue()).toEqual([]);
    judge('True', 'c');
    expect([evictions.isCalledOff, turns]).toEqual([false, [true, false]]);
  });

  it('forget a node that is gone', () => {
    const { evictions, judge } = start();
    judge('True', 'a', 'b', 'c');
    judge('Unknown', 'a');
    evictions.forget('a');
    expect([evictions.isUnreachable('a'), evictions.takeDue()]).toEqual([false, []]);
  });
});
