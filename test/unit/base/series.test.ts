import { describe, expect, it } from 'vitest';
import { counterFamily, histogramFamily } from '../../../src/base/series.ts';

const textOf = (family: { lines(): Iterable<string> }): string => [...family.lines()].join('');

describe('a counter', () => {
  it('without labels is there from the start', () => {
    expect(textOf(counterFamily({ name: 'a_total', help: 'A.' }))).toBe('# HELP a_total A.\n# TYPE a_total counter\na_total 0\n');
  });

  it('counts each set of labels, bound or not, in one series', () => {
    const family = counterFamily({ name: 'a_total', help: 'A.', labelNames: ['verb', 'code'] });
    family.instrument.labels({ code: 200, verb: 'get' }).inc();
    family.instrument.inc({ verb: 'get', code: '200' }, 2);
    family.instrument.inc({ verb: 'list', code: 200 }, 0);
    expect(textOf(family)).toContain('a_total{verb="get",code="200"} 3\na_total{verb="list",code="200"} 0\n');
  });

  it('escapes the values of labels', () => {
    const family = counterFamily({ name: 'a_total', help: 'A.', labelNames: ['message'] });
    family.instrument.inc({ message: 'a "b"\\\n' });
    expect(textOf(family)).toContain('a_total{message="a \\"b\\"\\\\\\n"} 1\n');
  });

  it('does not go back', () => {
    expect(() => counterFamily({ name: 'a_total', help: 'A.' }).instrument.inc(-1)).toThrow('a_total cannot be decreased');
  });
});

describe('a histogram', () => {
  it('counts an observation in each bucket that reaches it', () => {
    const family = histogramFamily({ name: 'a_seconds', help: 'A.', buckets: [0.1, 1] });
    for (const value of [0.1, 0.5, 2]) family.instrument.observe(value);
    expect(textOf(family)).toBe(
      '# HELP a_seconds A.\n# TYPE a_seconds histogram\n' +
        'a_seconds_bucket{le="0.1"} 1\na_seconds_bucket{le="1"} 2\na_seconds_bucket{le="+Inf"} 3\na_seconds_sum 2.6\na_seconds_count 3\n',
    );
  });

  it('has a series from its first observation on, or when it is announced', () => {
    const family = histogramFamily({ name: 'a_seconds', help: 'A.', labelNames: ['op'], buckets: [1] });
    const bound = family.instrument.labels({ op: 'read' });
    expect(textOf(family)).not.toContain('op="read"');
    bound.observe(3);
    family.instrument.observe({ op: 'read' }, 0.5);
    family.instrument.zero({ op: 'write' });
    expect(textOf(family)).toContain(
      'a_seconds_bucket{le="1",op="read"} 1\na_seconds_bucket{le="+Inf",op="read"} 2\na_seconds_sum{op="read"} 3.5\n',
    );
    expect(textOf(family)).toContain('a_seconds_count{op="write"} 0\n');
  });
});
