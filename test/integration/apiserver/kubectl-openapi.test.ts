import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { hasKubectl } from '../../support/kubectl.ts';

const list = `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: first, namespace: default}
  data: {a: "1"}
- apiVersion: v1
  kind: Service
  metadata: {name: second, namespace: default}
  spec: {ports: [{port: 80}]}
`;

/** kubectl 1.32 looks up what it does not find in version 3, such as `List`, in version 2, which it reads in protobuf only. */
describe.skipIf(!hasKubectl)('OpenAPI version 2 in protobuf, as kubectl reads it (needs kubectl)', () => {
  let cluster: TestApiServer;
  beforeAll(async () => {
    cluster = await startTestApiServer();
  });
  afterAll(() => cluster.stop());

  it('lets a List be applied, and applied again', async () => {
    const path = join(cluster.directory, 'list.yaml');
    await writeFile(path, list);
    expect(await cluster.kubectl('apply', '-f', path)).toMatchObject({
      code: 0,
      stdout: 'configmap/first created\nservice/second created\n',
      stderr: '',
    });
    await writeFile(path, list.replace('"1"', '"2"'));
    expect(await cluster.kubectl('apply', '-f', path)).toMatchObject({
      code: 0,
      stdout: 'configmap/first configured\nservice/second unchanged\n',
      stderr: '',
    });
    expect(await cluster.client.get(configMaps, { namespace: 'default', name: 'first' })).toMatchObject({ data: { a: '2' } });
  });

  it('says what is wrong with an object in a List', async () => {
    const path = join(cluster.directory, 'wrong.yaml');
    await writeFile(path, list.replace('data: {a: "1"}', 'daten: {a: "1"}').replaceAll('name: ', 'name: wrong-'));
    const { code, stderr } = await cluster.kubectl('apply', '-f', path);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('unknown field "daten"') });
  });

  it('explains fields from the older document', async () => {
    const { code, stdout } = await cluster.kubectl('explain', 'deployment.spec.strategy.rollingUpdate', '--output=plaintext-openapiv2');
    expect(code).toBe(0);
    expect(stdout).toContain('maxUnavailable');
  });
});
