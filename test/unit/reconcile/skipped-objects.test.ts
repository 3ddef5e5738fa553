import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../../src/base/metrics.ts';
import type { SkippedObject } from '../../../src/client/informer.ts';
import type { RecordedEvent } from '../../../src/reconcile/event-recorder.ts';
import { createSkipReporter } from '../../../src/reconcile/skipped-objects.ts';

const resourceOf = (kind: string, resource: string) => ({ group: '', version: 'v1', resource, kind, namespaced: true });
const skip = (kind: string, resource: string, version = '1'): SkippedObject => ({
  resource: resourceOf(kind, resource),
  object: { apiVersion: 'v1', kind, metadata: { name: 'odd', namespace: 'web', uid: `uid-${kind}`, resourceVersion: version } },
  part: 'index by-node',
  err: new TypeError('Cannot read hunter2'),
});

function start() {
  const lines: string[] = [];
  const events: (RecordedEvent & { readonly name: string })[] = [];
  const metrics = createMetrics();
  const report = createSkipReporter({
    log: pino({ level: 'error' }, { write: (line) => void lines.push(line) }),
    metrics,
    recorder: { record: (about, event) => void events.push({ name: about.metadata.name, ...event }) },
  });
  return { report, lines, events, metrics };
}

describe('the report of skipped objects', () => {
  it('names the object in a log line, a counter and a Warning Event, once a version', async () => {
    const { report, lines, events, metrics } = start();
    report(skip('Pod', 'pods'));
    report(skip('Pod', 'pods'));
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      expect.objectContaining({ level: 50, kind: 'Pod', key: 'web/odd', part: 'index by-node', msg: 'Skipped object' }),
    ]);
    expect(events).toEqual([
      {
        name: 'odd',
        type: 'Warning',
        reason: 'ObjectSkipped',
        message:
          'The control plane cannot work with this object and leaves it out (index by-node: Cannot read hunter2). Correct or delete it.',
      },
    ]);
    report(skip('Pod', 'pods', '2'));
    expect(await metrics.text()).toContain('midship_skipped_objects_total{resource="pods"} 2');
  });

  it('repeats no word of an error about a Secret', () => {
    const { report, lines, events } = start();
    report(skip('Secret', 'secrets'));
    expect(lines).toHaveLength(1);
    expect(JSON.stringify([lines, events])).not.toContain('hunter2');
    expect(events[0]?.message).toContain('TypeError');
  });

  it('writes no Event about an Event', () => {
    const { report, lines, events } = start();
    report(skip('Event', 'events'));
    expect(lines).toHaveLength(1);
    expect(events).toEqual([]);
  });

  it('forgets the oldest after 1,000 versions, so that its memory is bounded', () => {
    const { report, lines } = start();
    for (let version = 0; version <= 1_000; version += 1) report(skip('Pod', 'pods', String(version)));
    report(skip('Pod', 'pods', '1000'));
    expect(lines).toHaveLength(1_001);
    report(skip('Pod', 'pods', '0'));
    expect(lines).toHaveLength(1_002);
  });
});
