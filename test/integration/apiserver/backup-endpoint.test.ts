import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { clusterRoles } from '../../../src/api/rbac/v1/cluster-role.ts';
import { clusterRoleBindings } from '../../../src/api/rbac/v1/cluster-role-binding.ts';
import { adminToken, startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { until } from '../../support/until.ts';

const path = '/midship.dev/v1/backup';

describe('the path that answers with a backup', () => {
  let cluster: TestApiServer;
  let source: () => Readable;
  let signals: AbortSignal[] = [];

  beforeAll(async () => {
    const backup = async (signal: AbortSignal): Promise<Readable> => {
      signals.push(signal);
      return source();
    };
    cluster = await startTestApiServer({}, { backup });
    const { client } = cluster;
    await client.create(clusterRoles, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'looks' },
      rules: [
        { nonResourceURLs: ['*'], verbs: ['get'] },
        { apiGroups: ['*'], resources: ['*'], verbs: ['get', 'list', 'watch'] },
      ],
    });
    await client.create(clusterRoleBindings, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'looks' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'looks' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'alice' }],
    });
  });
  afterAll(() => cluster?.stop());

  const post = (): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const sent = request(`${cluster.server.url}${path}`, {
        method: 'POST',
        ca: cluster.pki.caCertificate,
        headers: { authorization: `Bearer ${adminToken}` },
        agent: false,
      });
      sent.once('response', resolve);
      sent.once('error', reject);
      sent.end();
    });

  it('streams it to an administrator', async () => {
    const content = randomBytes(3_000_000);
    source = () => Readable.from([content.subarray(0, 1_000_000), content.subarray(1_000_000)]);
    const answer = await post();
    expect(answer.statusCode).toBe(200);
    expect((await buffer(answer)).equals(content)).toBe(true);
  });

  it('is closed to users who may read every path and every object, and to anonymous ones', async () => {
    signals = [];
    source = () => Readable.from(['secret']);
    const alice = { headers: { authorization: `Bearer ${cluster.aliceToken}` } };
    expect((await cluster.fetch('/metrics', alice)).status).toBe(200);
    expect((await cluster.fetch(path, { ...alice, method: 'POST' })).status).toBe(403);
    expect((await cluster.fetch(path, { method: 'POST', anonymous: true })).status).toBe(403);
    expect((await cluster.fetch(path, alice)).status).toBe(405);
    expect((await cluster.fetch(path, { method: 'PUT' })).status).toBe(405);
    expect(signals).toEqual([]);
  });

  it('makes one at a time, and ends it when its client goes away', async () => {
    signals = [];
    let isDestroyed = false;
    source = () =>
      new Readable({
        // More than sockets hold, so that the reader sets the pace.
        read() {
          this.push(Buffer.alloc(1_000_000));
        },
        destroy(_, done) {
          isDestroyed = true;
          done(null);
        },
      });
    const first = await post();
    expect(first.statusCode).toBe(200);
    const second = await post();
    expect([second.statusCode, second.headers['retry-after']]).toEqual([429, '10']);
    second.resume();
    first.destroy();
    await until(() => isDestroyed && signals[0]?.aborted === true, { what: 'the copy is given up' });
    source = () => Readable.from(['whole']);
    let third = await post();
    await until(
      async () => {
        if (third.statusCode === 200) return true;
        third.resume();
        third = await post();
        return false;
      },
      { what: 'there is room for another' },
    );
    expect((await buffer(third)).toString()).toBe('whole');
  });

  it('says to the administrator why there is none', async () => {
    source = () => {
      throw new Error('ENOSPC: no space left on device');
    };
    const answer = await post();
    expect(answer.statusCode).toBe(500);
    expect(JSON.parse((await buffer(answer)).toString())).toMatchObject({
      reason: 'InternalError',
      message: 'no backup could be made: ENOSPC: no space left on device',
    });
  });

  it('breaks off when the copy cannot be read to its end, so that no client takes it for whole', async () => {
    source = () =>
      Readable.from(
        (async function* () {
          yield Buffer.from('half');
          throw new Error('disk');
        })(),
      );
    const answer = await post();
    answer.resume();
    await expect(once(answer, 'end')).rejects.toThrow('aborted');
    expect(answer.complete).toBe(false);
  });
});
