import { expect, it } from 'vitest';
import { qosClassOf } from '../../../../../src/api/core/v1/qos.ts';

it.each([
  [{}, 'BestEffort'],
  [{ requests: { cpu: '0' } }, 'BestEffort'],
  [{ requests: { cpu: '1' } }, 'Burstable'],
  [{ limits: { cpu: '1', memory: '1Gi' } }, 'Guaranteed'],
  [{ limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '1000m', memory: '1Gi' } }, 'Guaranteed'],
  [{ limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '500m', memory: '1Gi' } }, 'Burstable'],
])('resources %j are %s', (resources, qosClass) => {
  expect(qosClassOf({ containers: [{ name: 'main', resources }] })).toBe(qosClass);
});
