import { describe, expect, it } from 'vitest';
import { cpuSecondsOf, measureMachine } from '../../../src/node-agent/machine-usage.ts';

describe('usage of a machine', () => {
  it('is all time of the processors but idle and waiting time, without the time of guests twice', () => {
    const stat = 'cpu  100 20 30 40000 500 6 7 8 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n';
    expect(cpuSecondsOf(stat)).toBe(1.71);
    expect(() => cpuSecondsOf('cpu  1 2 3\n')).toThrow('/proc/stat has no times');
  });

  it('is that of this machine', async () => {
    const usage = await measureMachine();
    expect(usage.cpuSeconds).toBeGreaterThan(process.cpuUsage().user / 1e6);
    expect(usage.memoryWorkingSetBytes).toBeGreaterThan(process.memoryUsage.rss() / 4);
  });
});
