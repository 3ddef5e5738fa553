import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { thisProcess } from '../../../src/base/process-identity.ts';
import { claimNetwork, ensureDataDirectory, ensureToken, readEndpoints } from '../../../src/cli/data-directory.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { keepNetwork } from '../../support/network.ts';

it('a data directory where none can be made is refused, with the next step', async () => {
  const file = join(await temporaryDirectory('data'), 'file');
  await writeFile(file, '');
  for (const path of ['/proc/midship/data', file, join(file, 'data')]) {
    await expect(ensureDataDirectory(path)).rejects.toMatchObject({
      message: `${path} cannot be used`,
      fix: expect.stringContaining('--data-dir'),
    });
  }
});

it('a directory of somebody else is neither closed to others nor made a data directory', async () => {
  const home = await temporaryDirectory('home');
  await mkdir(join(home, 'photos'));
  await chmod(home, 0o755);
  await expect(ensureDataDirectory(home)).rejects.toMatchObject({
    message: `${home} is not a data directory of Midship`,
    why: expect.stringContaining('photos'),
    fix: expect.stringContaining('--data-dir'),
  });
  expect((await stat(home)).mode & 0o777).toBe(0o755);
  await writeFile(join(home, 'network.json'), '{"network": 70}');
  await ensureDataDirectory(home);
});

it('the data directory of an agent sends questions about the cluster to its server', async () => {
  const data = await temporaryDirectory('data');
  const agentOf = 'https://192.0.2.1:6443';
  await writeFile(join(data, 'endpoints.json'), JSON.stringify({ agentOf, ...(await thisProcess()) }));
  await expect(readEndpoints(data)).rejects.toMatchObject({
    message: `${data} is that of an agent`,
    why: expect.stringContaining(agentOf),
    fix: expect.stringContaining('--kubeconfig'),
  });
});

describe('the network of a server that machines join', () => {
  const wanted = { kind: 'machines', clusterCidr: '10.42.0.0/16', serviceCidr: '10.43.0.0/16', nodeAddress: '192.0.2.1' } as const;

  it('has the ranges that were chosen, and this machine answers for Services', async () => {
    const data = await temporaryDirectory('data');
    for (const nodeAddress of ['192.0.2.1', '192.0.2.2']) {
      const { network, release } = await claimNetwork(data, undefined, { ...wanted, nodeAddress });
      await release();
      expect(network).toMatchObject({ clusterCidr: '10.42.0.0/16', serviceCidr: '10.43.0.0/16', localRanges: ['10.43.0.0/16'] });
      expect([network.nodeAddress(0), network.podCidr(0)]).toEqual([nodeAddress, undefined]);
    }
  });

  it.each([
    [{ ...wanted, clusterCidr: '10.50.0.0/16' }, '--cluster-cidr cannot change to 10.50.0.0/16'],
    [{ ...wanted, serviceCidr: '10.51.0.0/16' }, '--service-cidr cannot change to 10.51.0.0/16'],
    [{ kind: 'routed' } as const, 'was made for a server that machines join'],
    [{ kind: 'loopback' } as const, 'was made for a server that machines join'],
  ])('refuses another one, and keeps its own: %#', async (other, message) => {
    const data = await temporaryDirectory('data');
    await (await claimNetwork(data, undefined, wanted)).release();
    await expect(claimNetwork(data, undefined, other)).rejects.toThrow(message);
    await (await claimNetwork(data, undefined, wanted)).release();
  });
});

describe('files of the data directory that a power cut damaged', () => {
  let data: string;
  /** A network that no other cluster of this machine takes meanwhile. */
  let n: number;
  let giveUpNetwork: () => void;
  beforeEach(async () => {
    data = await temporaryDirectory('data');
    const { network, release } = await claimNetwork(await temporaryDirectory('data'));
    n = network.n;
    giveUpNetwork = await keepNetwork(n);
    await release();
  });
  afterEach(() => giveUpNetwork());

  it.each(['', '\0\0\0\0', '{"netw', 'null', '{"network": 3}'])(
    'network.json that reads %j is written again with the network of the stored Service',
    async (content) => {
      const path = join(data, 'network.json');
      await writeFile(path, content);
      const { network, release } = await claimNetwork(data, async () => `127.${n}.0.1`);
      try {
        expect(network.serviceCidr).toBe(`127.${n}.0.0/20`);
        expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ network: n });
      } finally {
        await release();
      }
    },
  );

  it('network.json is made again where the store does not know the network either, and kept from then on', async () => {
    await writeFile(join(data, 'network.json'), '');
    const first = await claimNetwork(data);
    await first.release();
    const again = await claimNetwork(data, async () => `127.${n}.0.1`);
    await again.release();
    expect(again.network.n).toBe(first.network.n);
  });

  it('git-token without a token in it is made again, and only its owner reads it', async () => {
    const path = join(data, 'git-token');
    for (const content of ['', '\n', '\0'.repeat(41)]) {
      await writeFile(path, content, { mode: 0o644 });
      const token = await ensureToken(path);
      expect(token).toMatch(/^[0-9a-f]{40}$/);
      expect(await ensureToken(path)).toBe(token);
      expect((await stat(path)).mode & 0o777).toBe(0o600);
    }
  });

  it.each(['', 'null', '{"pid": 1', '[]'])('endpoints.json that reads %j means that nothing runs', async (content) => {
    await writeFile(join(data, 'endpoints.json'), content);
    await expect(readEndpoints(data)).rejects.toThrow('Midship is not running');
  });
});
