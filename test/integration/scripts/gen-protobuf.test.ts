import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const goSources = '/usr/share/gocode/src/k8s.io/api/core/v1/generated.proto';

it.skipIf(!existsSync(goSources))('gen-protobuf makes the committed table (skipped without the sources it reads)', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'gen-protobuf-'));
  try {
    const out = join(directory, 'protobuf.json');
    const { status, stderr } = spawnSync(process.execPath, ['scripts/gen-protobuf.mjs', '--out', out], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect((await readFile(out, 'utf8')) === (await readFile('src/api/protobuf.json', 'utf8'))).toBe(true);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
