import { describe, expect, it } from 'vitest';
import { discoverResources, type Fetch } from '../../../src/client/http-discovery.ts';

const lists: Readonly<Record<string, unknown>> = {
  '/api': { kind: 'APIVersions', versions: ['v1'] },
  '/apis': {
    kind: 'APIGroupList',
    groups: [
      { name: 'apps', versions: [{ version: 'v1' }] },
      { name: 'metrics.example.com', versions: [{ version: 'v1beta1' }] },
    ],
  },
  '/api/v1': {
    resources: [
      { name: 'pods', kind: 'Pod', namespaced: true },
      { name: 'pods/status', kind: 'Pod', namespaced: true },
    ],
  },
  '/apis/apps/v1': { resources: [{ name: 'deployments', kind: 'Deployment', namespaced: true }] },
};

const apiService = (available: string, spec: object = { service: { namespace: 'kube-system', name: 'metrics' } }) => ({
  '/apis/apiregistration.k8s.io/v1/apiservices': {
    items: [
      { spec: { group: 'apps', version: 'v1' }, status: { conditions: [{ type: 'Available', status: 'True' }] } },
      {
        spec: { group: 'metrics.example.com', version: 'v1beta1', ...spec },
        status: { conditions: [{ type: 'Available', status: available }] },
      },
    ],
  },
});

/** A server from before aggregated discovery, which answers 503 for what is not there. */
function server(documents: Readonly<Record<string, unknown>>): Fetch {
  return async (path) => {
    const document = documents[path];
    if (document === undefined) throw new Error(`503 ${path}`);
    return { document, contentType: 'application/json' };
  };
}

const names = async (documents: Readonly<Record<string, unknown>>): Promise<readonly string[]> =>
  (await discoverResources(server(documents))).map(({ group, resource, subresources }) => [group, resource, ...subresources].join('/'));

describe('discovery of a server without aggregated documents', () => {
  it('leaves out a group whose own server the cluster calls unavailable, and nothing else', async () => {
    expect(await names({ ...lists, ...apiService('False') })).toEqual(['/pods/status', 'apps/deployments']);
  });

  it.each([
    ['the cluster calls the group available', apiService('True')],
    ['the group is of the server itself', apiService('False', {})],
    ['nobody says why', {}],
  ])('is unknown as a whole when a group fails and %s', async (_, more) => {
    await expect(names({ ...lists, ...more })).rejects.toThrow('503 /apis/metrics.example.com/v1beta1');
  });

  it('is unknown as a whole when a group of the server itself fails', async () => {
    const { '/apis/apps/v1': _, ...rest } = lists;
    await expect(names({ ...rest, ...apiService('False') })).rejects.toThrow('503 /apis/apps/v1');
  });
});
