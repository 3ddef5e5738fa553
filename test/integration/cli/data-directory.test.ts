import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { claimNetwork, ensureDataDirectory, ensureToken, readEndpoints } from '../../../src/cli/data-directory.ts';
import { temporaryDirectory } from '../../support/git.ts';

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

describe('files of the data directory that a power cut damaged', () => {
  let data: string;
  beforeEach(async () => {
    data = await temporaryDirectory('data');
  });

  it.each(['', '\0\0\0\0', '{"netw', 'null', '{"network": 3}'])(
    'network.json that reads %j is written again with the network of the stored Service',
    async (content) => {
      const path = join(data, 'network.json');
      await writeFile(path, content);
      const { network, release } = await claimNetwork(data, async () => '127.93.0.1');
      try {
        expect(network.serviceCidr).toBe('127.93.0.0/20');
        expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ network: 93 });
      } finally {
        await release();
      }
    },
  );

  it('network.json is made again where the store does not know the network either, and kept from then on', async () => {
    await writeFile(join(data, 'network.json'), '');
    const first = await claimNetwork(data);
    await first.release();
    const again = await claimNetwork(data, async () => '127.93.0.1');
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
