import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '../../..');
const names =
  /^(?:midship\.dev|reconcile\.fluxcd\.io|event\.toolkit\.fluxcd\.io|kustomize\.toolkit\.fluxcd\.io|argocd\.argoproj\.io)\/[a-zA-Z-]*$/;

/** Not in the metadata of objects: conditions of nodes, the type of a Secret, a note in the audit log, an extension of kubeconfigs. */
const others = new Set(['PodIsolation', 'PodLimits', 'record', 'redacted', 'data-directory'].map((name) => `midship.dev/${name}`));

it('docs/reference/annotations.md has every annotation and label of ours, Flux and Argo CD that the code names, and no other', () => {
  const directory = join(root, 'src');
  const inCode = new Set<string>();
  for (const file of readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => /\.tsx?$/.test(name))) {
    for (const [, text = ''] of readFileSync(join(directory, file), 'utf8').matchAll(/'([a-z.]+\/[a-zA-Z-]*)'/g))
      if (names.test(text) && !others.has(text)) inCode.add(text);
  }
  const page = readFileSync(join(root, 'docs/reference/annotations.md'), 'utf8');
  const inPage = [...page.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name = '']) => name);
  expect(inPage.sort()).toEqual([...inCode].sort());
});
