import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtInKinds } from '../../../src/api/kinds.ts';
import { loadSchemas } from '../../../src/api/schemas.ts';
import { createDiscovery } from '../../../src/apiserver/http/discovery.ts';
import type { KindTable } from '../../../src/apiserver/kube-api.ts';
import { createOpenApi } from '../../../src/apiserver/openapi.ts';
import { hasKubectl } from '../../support/kubectl.ts';

/** The documents alone, behind plain HTTP: what kubectl makes of them is the test. */
describe.skipIf(!hasKubectl)('OpenAPI documents, as kubectl reads them (needs kubectl)', () => {
  let server: Server;
  let folder: string;
  const requests: string[] = [];

  const kinds: KindTable = {
    revision: 1,
    all: () => builtInKinds,
    find: (group, version, resource) => builtInKinds.find((k) => k.group === group && k.version === version && k.resource === resource),
    findByKind: (group, version, kind) => builtInKinds.find((k) => k.group === group && k.version === version && k.kind === kind),
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'openapi-'));
    const schemas = loadSchemas(builtInKinds.map((kind) => kind.schemas));
    const openApi = createOpenApi(kinds, () => schemas);
    const discovery = createDiscovery(kinds);
    server = createServer((request, response) => {
      const url = new URL(request.url ?? '/', 'http://server');
      requests.push(`${request.method} ${url.pathname}`);
      const aggregated = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';
      const answers: Readonly<Record<string, () => readonly [type: string, body: string | undefined]>> = {
        '/api': () => [aggregated, discovery.aggregated('core').json],
        '/apis': () => [aggregated, discovery.aggregated('groups').json],
        '/openapi/v3': () => ['application/json', openApi.index().json],
      };
      const answer =
        answers[url.pathname] ?? (() => ['application/json', openApi.groupVersion(url.pathname.slice('/openapi/v3/'.length))?.json]);
      const [type, body] = answer();
      response.writeHead(body === undefined ? 404 : 200, { 'content-type': type }).end(body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    writeFileSync(kubeconfig(), 'apiVersion: v1\nkind: Config\n');
  });

  afterAll(async () => {
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true, force: true });
  });

  const kubeconfig = (): string => join(folder, 'kubeconfig');

  const kubectl = async (...args: string[]): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> => {
    const { port } = server.address() as AddressInfo;
    const flags = ['--server', `http://127.0.0.1:${port}`, '--cache-dir', join(folder, 'cache'), '--kubeconfig', kubeconfig()];
    try {
      return { code: 0, ...(await promisify(execFile)('kubectl', [...flags, ...args], { timeout: 20_000 })) };
    } catch (err) {
      const failed = err as { readonly code?: number; readonly stdout?: string; readonly stderr?: string };
      return { code: failed.code ?? -1, stdout: failed.stdout ?? '', stderr: failed.stderr ?? '' };
    }
  };

  it('explains fields with types, enums, required marks and descriptions', async () => {
    const { stdout, stderr, code } = await kubectl('explain', 'pod.spec.containers');
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
    expect(stdout).toContain('KIND:       Pod\nVERSION:    v1\n\nFIELD: containers <[]Container>');
    expect(stdout).toContain('  name\t<string> -required-\n    Name, unique within the pod; a DNS label.');
    expect(stdout).toContain('  imagePullPolicy\t<string>\n  enum: Always, IfNotPresent, Never\n');
    expect(stdout).toContain('  resources\t<ResourceRequirements>');
  });

  it('explains recursively, with int-or-string and enums', async () => {
    const { stdout } = await kubectl('explain', 'deployment.spec.strategy', '--recursive');
    expect(stdout).toContain(
      'FIELDS:\n  rollingUpdate\t<RollingUpdateDeployment>\n    maxSurge\t<IntOrString>\n    maxUnavailable\t<IntOrString>\n  type\t<string>\n  enum: Recreate, RollingUpdate\n',
    );
    const everything = await kubectl('explain', 'deployment', '--recursive');
    expect(everything.code).toBe(0);
    expect(everything.stdout.split('\n').length).toBeGreaterThan(1_000);
  });

  it('explains every kind', async () => {
    for (const { resource, group, version, kind } of builtInKinds) {
      const { stdout, stderr } = await kubectl('explain', resource, '--api-version', group === '' ? version : `${group}/${version}`);
      expect(stderr).toBe('');
      expect(stdout).toContain(`KIND:       ${kind}\n`);
    }
  }, 60_000);

  it('makes kubectl leave validation to the server', async () => {
    const file = join(folder, 'pod.yaml');
    writeFileSync(file, 'apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {junk: 1, containers: [{name: c, image: i}]}\n');
    requests.length = 0;
    // The field is unknown: kubectl would refuse it itself if the documents did not say that the server does.
    const { code, stderr } = await kubectl('create', '-f', file, '--dry-run=client', '--validate=strict', '-o', 'name');
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
    expect(requests).toContain('GET /openapi/v3/api/v1');
    expect(requests).not.toContain('GET /openapi/v2');
  });
});
