import { expect, it } from 'vitest';
import { insteadOfKind, insteadOfWord } from '../../../src/api/unsupported-kinds.ts';

it.each([
  ['helm.toolkit.fluxcd.io', 'HelmRelease', 'helmCharts'],
  ['source.toolkit.fluxcd.io', 'OCIRepository', 'GitRepository'],
  ['image.toolkit.fluxcd.io', 'ImagePolicy', 'tags'],
  ['argoproj.io', 'Application', 'Kustomization'],
  ['argoproj.io', 'ApplicationSet', 'Kustomization for each'],
  ['argoproj.io', 'AppProject', 'Leave it out'],
  ['helm.cattle.io', 'HelmChart', 'helmCharts'],
  ['helm.cattle.io', 'HelmChartConfig', 'helmCharts'],
])('says what to do instead of a kind of %s: %s', (group, kind, instead) => {
  expect(insteadOfKind(group, kind)).toContain(instead);
  const plural = `${kind.toLowerCase()}s`.replace(/ys$/, 'ies');
  for (const word of [kind, kind.toLowerCase(), plural, `${plural}.${group}`]) expect(insteadOfWord(word)?.kind).toBe(kind);
});

it.each([
  ['source.toolkit.fluxcd.io', 'GitRepository'],
  ['apps', 'HelmRelease'],
  ['argoproj.io', 'Rollout'],
  ['toString', 'toString'],
])('knows no other kind: %s %s', (group, kind) => {
  expect(insteadOfKind(group, kind)).toBeUndefined();
  expect(insteadOfWord('constructor')).toBeUndefined();
  expect(insteadOfWord('gitrepository')).toBeUndefined();
});
