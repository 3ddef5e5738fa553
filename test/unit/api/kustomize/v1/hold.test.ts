import { describe, expect, it } from 'vitest';
import { describeHold, type Hold, holdAnnotations, holdOf } from '../../../../../src/api/kustomize/v1/hold.ts';

const hold: Hold = { held: 'a'.repeat(40), pinned: 'b'.repeat(40), by: 'alice', at: '2026-01-01T00:00:00Z' };
const app = (annotations: Readonly<Record<string, string>>) => ({ metadata: { name: 'web', annotations } });

describe('a hold', () => {
  it('is read back as it was written, and says who did it and when', () => {
    expect(holdOf(app(holdAnnotations(hold)))).toEqual(hold);
    expect(describeHold(hold)).toBe('Pinned to bbbbbbb by alice at 2026-01-01T00:00:00Z, aaaaaaa is held back');
    const bare = { held: 'c'.repeat(40), pinned: '', by: '', at: '' };
    expect(holdOf(app({ 'midship.dev/hold': bare.held }))).toEqual(bare);
    expect(describeHold(bare)).toBe('Pinned, ccccccc is held back');
  });

  it('is none when its annotation names no commit', () => {
    for (const text of ['', 'main', 'a'.repeat(39), `${'a'.repeat(40)}\n`])
      expect(holdOf(app({ 'midship.dev/hold': text })), text).toBeUndefined();
    expect(holdOf({ metadata: { name: 'web' } })).toBeUndefined();
    expect(holdOf(app({ 'midship.dev/hold': hold.held, 'midship.dev/pin': '../x', 'midship.dev/held-by': 'x'.repeat(10_000) }))).toEqual({
      held: hold.held,
      pinned: '',
      by: 'x'.repeat(200),
      at: '',
    });
  });
});
