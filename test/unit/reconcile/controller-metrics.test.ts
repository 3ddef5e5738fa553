import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../../src/base/metrics.ts';
import { createController } from '../../../src/reconcile/controller.ts';
import { createControllerMetrics } from '../../../src/reconcile/controller-metrics.ts';
import { createManualClock } from '../../support/manual-clock.ts';

async function run(reconcile: (key: string) => Promise<undefined>) {
  const clock = createManualClock();
  const metrics = createMetrics();
  const observer = createControllerMetrics({ metrics, clock }).observerOf('widget');
  const controller = createController({ name: 'widget', clock, log: pino({ level: 'silent' }), observer, workers: 1, reconcile });
  await controller.start({ signal: new AbortController().signal });
  return { clock, controller, text: () => metrics.text() };
}

describe('controller metrics', () => {
  it('exist before anything happens', async () => {
    const { text } = await run(async () => undefined);
    expect(await text()).toContain('controller_runtime_reconcile_total{controller="widget",result="error"} 0');
    expect(await text()).toContain('workqueue_depth{name="widget"} 0');
  });

  it('tell what waits, what is in work for how long, and how it ended', async () => {
    let finish: () => void = () => undefined;
    const { clock, controller, text } = await run(
      (key) =>
        new Promise((resolve, reject) => {
          finish = () => (key === 'bad' ? reject(new Error('broken')) : resolve(undefined));
        }),
    );
    controller.enqueue('good');
    controller.enqueue('bad');
    await turn();
    clock.advance(2_000);
    const during = await text();
    expect(during).toContain('workqueue_depth{name="widget"} 1');
    expect(during).toContain('workqueue_unfinished_work_seconds{name="widget"} 2');
    expect(during).toContain('workqueue_longest_running_processor_seconds{name="widget"} 2');
    finish();
    for (let i = 0; i < 3; i += 1) await turn();
    finish();
    for (let i = 0; i < 3; i += 1) await turn();
    const after = await text();
    expect(after).toContain('controller_runtime_reconcile_total{controller="widget",result="success"} 1');
    expect(after).toContain('controller_runtime_reconcile_errors_total{controller="widget"} 1');
    expect(after).toContain('workqueue_retries_total{name="widget"} 1');
    expect(after).toContain('workqueue_unfinished_work_seconds{name="widget"} 0');
    expect(after).toContain('workqueue_work_duration_seconds_sum{name="widget"} 2');
    await controller.stop();
  });
});
