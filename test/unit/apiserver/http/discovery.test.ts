import { describe, expect, it } from 'vitest';
import { builtInKinds } from '../../../../src/api/kinds.ts';
import { createDiscovery } from '../../../../src/apiserver/http/discovery.ts';
import type { KindTable } from '../../../../src/apiserver/kube-api.ts';
import type { KindDefinition } from '../../../../src/machinery/kind.ts';
import { recordedLines } from '../../../support/recorded-lines.ts';

const tableOf = (kinds: readonly KindDefinition[], revision = 1): KindTable => ({
  revision,
  all: () => kinds,
  find: () => undefined,
  findByKind: () => undefined,
});

describe('discovery', () => {
  it('gives the documents of a served group, and nothing for others', () => {
    const discovery = createDiscovery(tableOf(builtInKinds));
    expect(discovery.group('apps')).toEqual({
      kind: 'APIGroup',
      apiVersion: 'v1',
      name: 'apps',
      versions: [{ groupVersion: 'apps/v1', version: 'v1' }],
      preferredVersion: { groupVersion: 'apps/v1', version: 'v1' },
    });
    expect(discovery.group('nope.example')).toBeUndefined();
    expect(discovery.resourceList('apps', 'v9')).toBeUndefined();
    expect(discovery.hasGroup('')).toBe(true);
  });

  it('changes its ETag with the kinds only', () => {
    const kinds = [...builtInKinds];
    let revision = 1;
    const discovery = createDiscovery({
      ...tableOf(kinds),
      get revision() {
        return revision;
      },
    });
    const { etag } = discovery.aggregated('groups');
    revision = 2;
    expect(discovery.aggregated('groups').etag).toBe(etag);
    kinds.pop();
    revision = 3;
    expect(discovery.aggregated('groups').etag).not.toBe(etag);
  });

  it('describes each kind and subresource as the real server does', () => {
    const lines = recordedLines('api', 'discovery').map((line) => JSON.parse(line));
    const discovery = createDiscovery(tableOf(builtInKinds));
    let compared = 0;
    for (const { req, res } of lines) {
      if (res.body?.kind !== 'APIResourceList') continue;
      const [, , groupOrVersion, version] = req.path.split('/');
      const ours = discovery.resourceList(version === undefined ? '' : groupOrVersion, version ?? groupOrVersion) as
        | typeof res.body
        | undefined;
      if (ours === undefined) continue;
      const { resources: _real, ...head } = res.body;
      expect(ours).toMatchObject(head);
      for (const resource of ours.resources) {
        const real = res.body.resources.find(({ name }: { name: string }) => name === resource.name);
        // The hash tells the version that is stored, which is another one there for kinds that are new.
        const { storageVersionHash, ...rest } = real;
        expect(resource).toEqual(storageVersionHash === undefined ? rest : { ...rest, storageVersionHash: expect.any(String) });
        compared += 1;
      }
    }
    for (const { title, req, res } of lines) {
      if (title !== 'aggregated v2') continue;
      const ours = JSON.parse(discovery.aggregated(req.path === '/api' ? 'core' : 'groups').json);
      for (const group of ours.items) {
        const real = res.body.items.find(({ metadata }: { metadata: { name?: string } }) => metadata.name === group.metadata.name);
        if (real === undefined) continue;
        for (const resource of group.versions[0].resources) {
          const theirs = real.versions[0].resources.find(({ resource: name }: { resource: string }) => name === resource.resource);
          const names = new Set((resource.subresources ?? []).map(({ subresource }: { subresource: string }) => subresource));
          const subresources = theirs.subresources?.filter(({ subresource }: { subresource: string }) => names.has(subresource));
          const { subresources: _all, ...rest } = theirs;
          expect(resource).toEqual(names.size === 0 ? rest : { ...rest, subresources });
          compared += 1;
        }
      }
    }
    expect(compared).toBeGreaterThan(30);
  });
});
