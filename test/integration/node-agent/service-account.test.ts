import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { systemClock } from '../../../src/base/clock.ts';
import type { SigningKey } from '../../../src/base/pki/signing-key.ts';
import { openPki } from '../../../src/base/pki.ts';
import { startTestNode, type TestNode } from '../../support/node-agent.ts';
import { until } from '../../support/until.ts';

const path = '/var/run/secrets/kubernetes.io/serviceaccount';
let directory: string;
let signingKey: SigningKey;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'midship-sa-'));
  signingKey = await (await openPki({ directory, clock: systemClock })).signingKey();
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function startNode(plain: boolean): Promise<TestNode> {
  const node = await startTestNode({ host: { plain, insecurePlainPods: plain }, api: { signingKey } });
  const metadata = { name: 'kube-root-ca.crt', namespace: 'default' };
  await node.client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'ca.crt': 'certificate' } });
  return node;
}

const shell = (name: string, script: string, more: Partial<Pod['spec']> = {}) => ({
  name,
  restartPolicy: 'Never',
  ...more,
  containers: [{ name: 'main', image: 'host/sh', command: ['/bin/sh', '-c', script] }],
});
const isOver = ({ status }: Pod): boolean => status?.phase === 'Succeeded' || status?.phase === 'Failed';

describe('access of pods to the API', () => {
  it('is mounted: a token that is bound to the pod, the authority and the namespace', async () => {
    const node = await startNode(false);
    try {
      const script = `test -s ${path}/token && test "$(cat ${path}/ca.crt)" = certificate && test "$(cat ${path}/namespace)" = default; result=$?; sleep 1; exit $result`;
      const pod = await node.run(shell('reader', script));
      const name = pod.spec.volumes?.find((volume) => volume.name.startsWith('kube-api-access-'))?.name ?? '';
      expect(pod.spec.containers[0]?.volumeMounts).toEqual([{ name, readOnly: true, mountPath: path }]);
      await node.pod('reader', 'to run', ({ status }) => status?.phase === 'Running');
      if (node.host.isolation.mode !== 'plain') {
        const files = await readdir(node.directory, { recursive: true });
        const token = await readFile(join(node.directory, files.find((file) => file.endsWith(`${name}/token`)) ?? ''), 'utf8');
        const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
        expect(claims).toMatchObject({
          sub: 'system:serviceaccount:default:default',
          'kubernetes.io': { pod: { name: 'reader', uid: pod.metadata.uid } },
        });
        expect((await node.pod('reader', 'to end', isOver)).status?.phase).toBe('Succeeded');
      }
    } finally {
      await node.stop();
    }
  });

  it('is renewed for pods that an earlier agent started', async () => {
    const node = await startNode(false);
    try {
      const tokenFile = async () => {
        const files = await readdir(node.directory, { recursive: true });
        return join(node.directory, files.find((file) => /kube-api-access-\w+\/token$/.test(file)) ?? '');
      };
      await node.run(shell('long', 'sleep 60'));
      await node.pod('long', 'to run', ({ status }) => status?.phase === 'Running');
      if (node.host.isolation.mode === 'plain') return;
      const first = await readFile(await tokenFile(), 'utf8');
      await node.crash();
      await until(async () => (await readFile(await tokenFile(), 'utf8')) !== first, { timeoutMs: 10_000, what: () => 'a new token' });
    } finally {
      await node.stop();
    }
  });

  it('is left out where nothing can be mounted, and where the pod does not want it', async () => {
    const node = await startNode(true);
    try {
      await node.run(shell('without', `test ! -e ${path}/token`));
      expect((await node.pod('without', 'to end', isOver)).status?.phase).toBe('Succeeded');
      const refusing = await node.run(shell('refusing', 'exit 0', { automountServiceAccountToken: false }));
      expect(refusing.spec.volumes ?? []).toEqual([]);
    } finally {
      await node.stop();
    }
  });
});
