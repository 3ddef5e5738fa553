import { expect, it } from 'vitest';
import { selectorTextOf } from '../../../src/controllers/selector-text.ts';

it.each([
  [undefined, 'nil'],
  [{}, '&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{},}'],
  [
    { matchLabels: { tier: 'db', app: 'shop' } },
    '&LabelSelector{MatchLabels:map[string]string{app: shop,tier: db,},MatchExpressions:[]LabelSelectorRequirement{},}',
  ],
  [
    { matchExpressions: [{ key: 'app', operator: 'In', values: ['a', 'b'] }] },
    '&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{' +
      'LabelSelectorRequirement{Key:app,Operator:In,Values:[a b],},},}',
  ],
])('prints selector %# as Go does', (selector, text) => {
  expect(selectorTextOf(selector)).toBe(text);
});
