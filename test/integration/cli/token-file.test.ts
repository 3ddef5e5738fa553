import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readTokenFile } from '../../../src/cli/token-file.ts';

describe('a file of static tokens', () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tokens-'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  async function read(text: string) {
    const path = join(directory, 'tokens.csv');
    await writeFile(path, text);
    return readTokenFile(path);
  }

  it('names users and their groups', async () => {
    expect(await read('# who\nt1,alice,u1,"devs,ops"\n\nt2,bob,u2\r\nt3,eve,,viewers\n')).toEqual({
      t1: { name: 'alice', uid: 'u1', groups: ['devs', 'ops'] },
      t2: { name: 'bob', uid: 'u2', groups: [] },
      t3: { name: 'eve', uid: '', groups: ['viewers'] },
    });
  });

  it.each(['secret-token', 'a b,alice,1', ',alice,1', 'secret-token,,1', 'secret-token,alice,1,"devs', 'secret-token,a,1,b,c'])(
    'is refused whole for a line like %s, which is not repeated',
    async (line) => {
      const failure = await read(`t1,alice,1\n${line}\n`).catch((err: unknown) => err as Error & { why?: string });
      expect(failure).toBeInstanceOf(Error);
      expect(JSON.stringify(failure)).toContain('line 2');
      expect(JSON.stringify(failure)).not.toContain('secret-token');
    },
  );

  it('is refused when two users have one token, and when it is not there', async () => {
    await expect(read('t1,alice,1\nt1,bob,2')).rejects.toThrow('is not a file of tokens');
    await expect(readTokenFile(join(directory, 'nowhere'))).rejects.toThrow('cannot be read');
  });
});
