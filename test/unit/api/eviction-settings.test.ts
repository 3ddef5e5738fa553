import { expect, it } from 'vitest';
import { amountOf, defaultEviction, type EvictionFlagValues, parseEvictionFlags } from '../../../src/api/eviction-settings.ts';

it('has the defaults of a kubelet', () => {
  const texts = defaultEviction.thresholds.map(({ signal, value, isHard, graceMs }) => [signal, amountOf(value, 100), isHard, graceMs]);
  expect(texts).toEqual([
    ['memory.available', 104_857_600, true, 0],
    ['nodefs.available', 10, true, 0],
    ['nodefs.inodesFree', 5, true, 0],
    ['imagefs.available', 15, true, 0],
    ['imagefs.inodesFree', 5, true, 0],
  ]);
  expect(defaultEviction).toMatchObject({ transitionMs: 300_000, maxPodGraceSeconds: 0 });
});

it('joins the values of a flag, and takes thresholds of 0% and 100% away', () => {
  const { thresholds, transitionMs, maxPodGraceSeconds } = parseEvictionFlags({
    'eviction-hard': ['memory.available<500Mi,imagefs.available<0%', 'nodefs.available<5%', 'memory.available<200Mi'],
    'eviction-soft': ['memory.available<1Gi'],
    'eviction-soft-grace-period': ['memory.available=1m30s'],
    'eviction-minimum-reclaim': ['nodefs.available=10%,memory.available=0'],
    'eviction-pressure-transition-period': ['30s'],
    'eviction-max-pod-grace-period': ['60'],
  });
  const reclaimed = { minimumReclaim: { amount: 0 } };
  expect(thresholds).toEqual([
    { signal: 'memory.available', value: { amount: 200 * 1024 ** 2 }, isHard: true, graceMs: 0, ...reclaimed },
    { signal: 'nodefs.available', value: { share: 0.05 }, isHard: true, graceMs: 0, minimumReclaim: { share: 0.1 } },
    { signal: 'memory.available', value: { amount: 1024 ** 3 }, isHard: false, graceMs: 90_000, ...reclaimed },
  ]);
  expect([transitionMs, maxPodGraceSeconds]).toEqual([30_000, 60]);
  expect(parseEvictionFlags({ 'eviction-hard': [''] }).thresholds).toEqual([]);
});

it.each<[EvictionFlagValues, string]>([
  [{ 'eviction-hard': ['memory.available'] }, '"memory.available" is not SIGNAL<VALUE.'],
  [{ 'eviction-hard': ['cpu.available<1'] }, 'not supported: the signal "cpu.available". It is one of memory.available,'],
  [{ 'eviction-hard': ['memory.available<0'] }, 'memory.available: 0 is not positive.'],
  [{ 'eviction-hard': ['nodefs.available<101%'] }, '101% is more than 100%'],
  [{ 'eviction-hard': ['nodefs.available<much'] }, '"much" is neither a quantity such as 500Mi nor a share such as 10%.'],
  [{ 'eviction-soft': ['memory.available<1Gi'] }, 'memory.available has no grace period'],
  [{ 'eviction-soft-grace-period': ['memory.available=soon'] }, '"soon" is not a duration such as 1m30s.'],
  [{ 'eviction-max-pod-grace-period': ['1m'] }, '"1m" is not a number of seconds.'],
])('refuses %j', (flags, message) => {
  expect(() => parseEvictionFlags(flags)).toThrow(message);
});
