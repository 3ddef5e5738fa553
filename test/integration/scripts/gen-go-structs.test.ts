import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const goSources = '/usr/share/gocode/src/k8s.io/api/core/v1/types.go';

it.skipIf(!existsSync(goSources))('gen-go-structs makes the committed table (skipped without the sources it reads)', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'gen-go-structs-'));
  try {
    const out = join(directory, 'go-structs.json');
    const { status, stderr } = spawnSync(process.execPath, ['scripts/gen-go-structs.mjs', '--out', out], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect((await readFile(out, 'utf8')) === (await readFile('src/api/go-structs.json', 'utf8'))).toBe(true);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
