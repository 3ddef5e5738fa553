import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mapBounded } from '../../src/base/concurrency.ts';
import { buildHere, buildWithKustomize, type Files, hasKustomize, type Outcome, writeFiles } from '../support/kustomize.ts';
import { corpusFields, corpusFiles, corpusResources } from '../support/kustomize-corpus.ts';

/**
 * The renderer against the real program (5.6, as Debian has it): each field alone, every pair of fields, every pair of a base and an
 * overlay. Objects must be equal, in the same order.
 */
describe.skipIf(!hasKustomize)('kustomize build (skipped where the program is not installed: apt-get install kustomize)', () => {
  let root: string;

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'midship-kustomize-'));
  });

  afterAll(() => rm(root, { recursive: true, force: true }));

  async function both(name: string, files: Files, path = ''): Promise<{ readonly real: Outcome; readonly ours: Outcome }> {
    const directory = join(root, name);
    await writeFiles(directory, files);
    const [real, ours] = await Promise.all([buildWithKustomize(join(directory, path)), buildHere(directory, path)]);
    return { real: normalized(real), ours };
  }

  /** Names of cases whose outcome differs, with both; a refusal of both is no difference. */
  async function differences(
    cases: readonly { readonly name: string; readonly files: Files; readonly path?: string }[],
  ): Promise<unknown[]> {
    const found: unknown[] = [];
    let equal = 0;
    await mapBounded(cases, 3, async ({ name, files, path }) => {
      const { real, ours } = await both(name, files, path);
      if ('error' in real && 'error' in ours) return;
      try {
        expect(ours).toEqual(real);
        equal += 1;
      } catch (err) {
        found.push({ name, difference: err instanceof Error ? err.message.slice(0, 2_000) : err });
      }
    });
    // Most of what is compared must be built, or the comparison says nothing.
    expect(equal).toBeGreaterThan(cases.length * 0.7);
    return found;
  }

  const fields = Object.entries(corpusFields);

  it('agrees on each field alone', async () => {
    const cases = fields.map(([name, field]) => ({
      name: `alone-${name}`,
      files: { ...corpusFiles, 'kustomization.yaml': corpusResources + field },
    }));
    expect(await differences(cases)).toEqual([]);
  });

  it('agrees on every pair of fields', { timeout: 300_000 }, async () => {
    const cases = fields.flatMap(([a, first], index) =>
      fields.slice(index + 1).flatMap(([b, second]) => {
        const merged = mergeFields(first, second);
        return merged === undefined
          ? []
          : [{ name: `pair-${a}-${b}`, files: { ...corpusFiles, 'kustomization.yaml': corpusResources + merged } }];
      }),
    );
    expect(await differences(cases)).toEqual([]);
  });

  it('agrees on every field of an overlay over every field of a base', { timeout: 300_000 }, async () => {
    const cases = fields.flatMap(([a, inner], index) =>
      fields
        .filter((_, other) => (index + other) % 3 === 0)
        .map(([b, outer]) => ({
          name: `overlay-${a}-${b}`,
          path: 'overlay',
          files: {
            ...Object.fromEntries(
              Object.entries(corpusFiles).flatMap(([file, text]) => [
                [`base/${file}`, text],
                [`overlay/${file}`, text],
              ]),
            ),
            'base/kustomization.yaml': corpusResources + inner,
            'overlay/kustomization.yaml': `resources: [../base]\n${outer}`,
          },
        })),
    );
    expect(await differences(cases)).toEqual([]);
  });
});

/** Both fields in one file: lists of the same field follow each other. Undefined where a field holds one value. */
function mergeFields(first: string, second: string): string | undefined {
  const key = (text: string): string => text.slice(0, text.indexOf(':'));
  const keys = new Map<string, string>();
  for (const part of [first, second].flatMap((text) => text.split(/\n(?=[a-zA-Z])/))) {
    const text = part.endsWith('\n') ? part : `${part}\n`;
    const known = keys.get(key(text));
    if (known === undefined) keys.set(key(text), text);
    else if (known.startsWith(`${key(text)}:\n- `) && text.startsWith(`${key(text)}:\n- `)) {
      keys.set(key(text), known + text.slice(text.indexOf('\n') + 1));
    } else return undefined;
  }
  return [...keys.values()].join('');
}

/** Debian's build does not know its version, and writes one that no label may have. */
function normalized(outcome: Outcome): Outcome {
  return JSON.parse(JSON.stringify(outcome).replaceAll('kustomize-(devel)', 'kustomize-v5.6.0')) as Outcome;
}
