import { describe, expect, it } from 'vitest';
import { parseTarget } from '../../../../src/apiserver/http/request-target.ts';

const resource = (fields: object) => ({
  type: 'resource',
  namespace: undefined,
  name: undefined,
  subresource: undefined,
  rest: undefined,
  watch: false,
  ...fields,
});

describe('parseTarget', () => {
  it.each([
    ['/api', { type: 'versions' }],
    ['/apis/', { type: 'groups' }],
    ['/apis/apps', { type: 'group', group: 'apps' }],
    ['/api/v1', { type: 'group-version', group: '', version: 'v1' }],
    ['/apis/apps/v1/', { type: 'group-version', group: 'apps', version: 'v1' }],
    ['/api/v1/pods', resource({ group: '', version: 'v1', resource: 'pods' })],
    ['/api/v1/namespaces', resource({ group: '', version: 'v1', resource: 'namespaces' })],
    ['/api/v1/namespaces/x', resource({ group: '', version: 'v1', resource: 'namespaces', name: 'x' })],
    ['/api/v1/namespaces/x/status', resource({ group: '', version: 'v1', resource: 'namespaces', name: 'x', subresource: 'status' })],
    ['/api/v1/namespaces/x/finalize', resource({ group: '', version: 'v1', resource: 'namespaces', name: 'x', subresource: 'finalize' })],
    ['/api/v1/namespaces/x/pods/', resource({ group: '', version: 'v1', resource: 'pods', namespace: 'x' })],
    ['/api/v1/namespaces/x/pods/a.b', resource({ group: '', version: 'v1', resource: 'pods', namespace: 'x', name: 'a.b' })],
    [
      '/apis/apps/v1/namespaces/x/deployments/web/scale',
      resource({ group: 'apps', version: 'v1', resource: 'deployments', namespace: 'x', name: 'web', subresource: 'scale' }),
    ],
    [
      '/api/v1/nodes/n/proxy/logs/a',
      resource({ group: '', version: 'v1', resource: 'nodes', name: 'n', subresource: 'proxy', rest: 'logs/a' }),
    ],
    [
      '/api/v1/watch/namespaces/x/configmaps/e1',
      resource({ group: '', version: 'v1', resource: 'configmaps', namespace: 'x', name: 'e1', watch: true }),
    ],
    ['/apis/rbac/v1/clusterroles/system%3Anode', resource({ group: 'rbac', version: 'v1', resource: 'clusterroles', name: 'system:node' })],
    ['//api/v1/namespaces', { type: 'other' }],
    ['/api//v1', { type: 'other' }],
    ['/healthz', { type: 'other' }],
    ['/', { type: 'other' }],
  ])('reads %s', (path, target) => {
    expect(parseTarget(path)).toEqual(target);
  });

  it('refuses a broken percent-encoding', () => {
    expect(() => parseTarget('/api/v1/pods/%zz')).toThrow('invalid URL escape');
  });
});
