import { describe, expect, it } from 'vitest';
import { builtInKinds } from '../../../src/api/kinds.ts';
import { loadSchemas } from '../../../src/api/schemas.ts';
import type { KindTable } from '../../../src/apiserver/kube-api.ts';
import { createOpenApi } from '../../../src/apiserver/openapi.ts';
import type { KindDefinition } from '../../../src/machinery/kind.ts';

const schemas = loadSchemas(builtInKinds.map((kind) => kind.schemas));

function tableOf(kinds: readonly KindDefinition[], revision = 1): KindTable {
  return { revision, all: () => kinds, find: () => undefined, findByKind: () => undefined };
}

type Json = Record<string, unknown>;
const parsed = (document: { readonly json: string } | undefined): Json => JSON.parse(document?.json ?? 'null') as Json;
const at = (value: unknown, ...path: string[]): unknown =>
  path.reduce<unknown>((object, key) => (object as Json | undefined)?.[key], value);

const openApi = createOpenApi(tableOf(builtInKinds), () => schemas);
const apps = parsed(openApi.groupVersion('apis/apps/v1'));

describe('the index', () => {
  it('names every group, every version and what is served besides, with the hash of its document', () => {
    const paths = at(parsed(openApi.index()), 'paths') as Json;
    const expected = new Set(
      builtInKinds.flatMap(({ group, version }) => (group === '' ? [`api/${version}`] : [`apis/${group}`, `apis/${group}/${version}`])),
    );
    for (const path of ['.well-known/openid-configuration', 'api', 'apis', 'openid/v1/jwks', 'version']) expected.add(path);
    expect(Object.keys(paths)).toEqual([...expected].sort());
    for (const [path, entry] of Object.entries(paths)) {
      expect(entry).toEqual({ serverRelativeURL: `/openapi/v3/${path}?hash=${openApi.groupVersion(path)?.hash}` });
    }
  });

  it('knows no other path', () => {
    expect(openApi.groupVersion('apis/nope/v1')).toBeUndefined();
    expect(openApi.groupVersion('__proto__')).toBeUndefined();
  });

  it('changes when the kinds do, and documents that did not change keep their hash', () => {
    let kinds: readonly KindDefinition[] = builtInKinds.filter(({ resource }) => resource !== 'replicasets');
    let revision = 1;
    const table: KindTable = {
      get revision() {
        return revision;
      },
      all: () => kinds,
      find: () => undefined,
      findByKind: () => undefined,
    };
    const changing = createOpenApi(table, () => schemas);
    const before = { index: changing.index(), apps: changing.groupVersion('apis/apps/v1'), core: changing.groupVersion('api/v1') };
    expect(changing.index()).toBe(before.index);
    kinds = builtInKinds;
    revision++;
    expect(changing.index().hash).not.toBe(before.index.hash);
    expect(changing.groupVersion('apis/apps/v1')?.hash).not.toBe(before.apps?.hash);
    expect(changing.groupVersion('api/v1')?.hash).toBe(before.core?.hash);
  });
});

describe('a group version', () => {
  it('tells kubectl that patches take fieldValidation', () => {
    const patch = at(apps, 'paths', '/apis/apps/v1/namespaces/{namespace}/deployments/{name}', 'patch');
    expect(at(patch, 'x-kubernetes-group-version-kind')).toEqual({ group: 'apps', version: 'v1', kind: 'Deployment' });
    expect((at(patch, 'parameters') as Json[]).map(({ name }) => name)).toEqual(['dryRun', 'fieldManager', 'fieldValidation', 'force']);
    expect(Object.keys(at(patch, 'requestBody', 'content') as Json)).toEqual([
      'application/apply-patch+yaml',
      'application/json-patch+json',
      'application/merge-patch+json',
      'application/strategic-merge-patch+json',
    ]);
  });

  it('offers no strategic merge for kinds from outside Kubernetes', () => {
    const flux = parsed(openApi.groupVersion('apis/source.toolkit.fluxcd.io/v1'));
    const path = '/apis/source.toolkit.fluxcd.io/v1/namespaces/{namespace}/gitrepositories/{name}';
    const content = at(flux, 'paths', path, 'patch', 'requestBody', 'content') as Json;
    expect(Object.keys(content)).not.toContain('application/strategic-merge-patch+json');
    expect(at(flux, 'paths', path, 'patch', 'operationId')).toBe('patchSourceToolkitFluxcdIoV1NamespacedGitRepository');
  });

  it('has kind, list, metadata and group version kind of hand-written types', () => {
    const flux = parsed(openApi.groupVersion('apis/source.toolkit.fluxcd.io/v1'));
    const type = at(flux, 'components', 'schemas', 'io.fluxcd.toolkit.source.v1.GitRepository') as Json;
    expect(type['x-kubernetes-group-version-kind']).toEqual([{ group: 'source.toolkit.fluxcd.io', version: 'v1', kind: 'GitRepository' }]);
    expect(Object.keys(type.properties as Json)).toEqual(expect.arrayContaining(['apiVersion', 'kind', 'metadata', 'spec', 'status']));
    expect(at(flux, 'components', 'schemas', 'io.fluxcd.toolkit.source.v1.GitRepositoryList', 'properties', 'items', 'items')).toEqual({
      $ref: '#/components/schemas/io.fluxcd.toolkit.source.v1.GitRepository',
    });
  });

  it('describes subresources with the kinds of their bodies', () => {
    const scale = at(apps, 'paths', '/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale');
    expect(at(scale, 'put', 'operationId')).toBe('replaceAppsV1NamespacedDeploymentScale');
    expect(at(scale, 'put', 'x-kubernetes-group-version-kind')).toEqual({ group: 'autoscaling', version: 'v1', kind: 'Scale' });
    const core = parsed(openApi.groupVersion('api/v1'));
    const pod = '/api/v1/namespaces/{namespace}/pods/{name}';
    expect(at(core, 'paths', `${pod}/eviction`, 'post', 'requestBody', 'content', '*/*', 'schema')).toEqual({
      $ref: '#/components/schemas/io.k8s.api.policy.v1.Eviction',
    });
    expect(at(core, 'paths', `${pod}/log`, 'get', 'responses', '200', 'content')).toEqual({ '*/*': { schema: { type: 'string' } } });
  });

  it('is complete: every reference leads somewhere, and nothing internal is in it', () => {
    for (const path of Object.keys(at(parsed(openApi.index()), 'paths') as Json)) {
      const { json = '' } = openApi.groupVersion(path) ?? {};
      const types = (at(JSON.parse(json), 'components', 'schemas') ?? {}) as Json;
      for (const [, name = ''] of json.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)) expect(types).toHaveProperty([name]);
      expect(json).not.toContain('x-omit-zero');
      expect(json).not.toContain('"default":null');
      expect(json).not.toContain('"format":"quantity"');
    }
  });

  it('has the old form of watches, which custom resources never had', () => {
    const watch = at(apps, 'paths', '/apis/apps/v1/watch/namespaces/{namespace}/deployments/{name}', 'get');
    expect(watch).toMatchObject({ operationId: 'watchAppsV1NamespacedDeployment', 'x-kubernetes-action': 'watch' });
    const all = at(apps, 'paths', '/apis/apps/v1/watch/deployments', 'get');
    expect(all).toMatchObject({ operationId: 'watchAppsV1DeploymentListForAllNamespaces', 'x-kubernetes-action': 'watchlist' });
    const flux = parsed(openApi.groupVersion('apis/source.toolkit.fluxcd.io/v1'));
    expect(Object.keys(at(flux, 'paths') as Json).filter((path) => path.includes('/watch/'))).toEqual([]);
  });

  it('lists the group in the bodies that go with every group', () => {
    expect(
      at(apps, 'components', 'schemas', 'io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions', 'x-kubernetes-group-version-kind'),
    ).toEqual([
      { group: '', version: 'v1', kind: 'DeleteOptions' },
      { group: 'apps', version: 'v1', kind: 'DeleteOptions' },
    ]);
  });
});

describe('version 2', () => {
  it('has definitions and paths of all groups', () => {
    const document = parsed(openApi.v2());
    expect(document.swagger).toBe('2.0');
    expect(at(document, 'definitions', 'io.k8s.api.apps.v1.DeploymentSpec', 'properties', 'strategy')).toMatchObject({
      $ref: '#/definitions/io.k8s.api.apps.v1.DeploymentStrategy',
      'x-kubernetes-patch-strategy': 'retainKeys',
    });
    const { json } = openApi.v2();
    expect(json).not.toContain('#/components/');
    expect(json).not.toContain('"allOf":[');
    for (const [, name = ''] of json.matchAll(/"\$ref":"#\/definitions\/([^"]+)"/g)) expect(document.definitions).toHaveProperty([name]);
    expect(at(document, 'paths', '/api/v1/namespaces/{namespace}/pods', 'post', 'parameters', '0')).toEqual({
      name: 'body',
      in: 'body',
      required: true,
      schema: { $ref: '#/definitions/io.k8s.api.core.v1.Pod' },
    });
  });
});
