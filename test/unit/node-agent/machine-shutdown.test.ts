import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isMachineStopping } from '../../../src/node-agent/machine-shutdown.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'midship-systemctl-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe('a machine', () => {
  it.each([
    ['stopping', 1, true],
    ['running', 0, false],
    ['degraded', 1, false],
    ['offline', 1, false],
  ])('that is %s in the words of systemd is known to go down, or not to', async (state, code, isStopping) => {
    const program = join(directory, 'systemctl');
    await writeFile(program, `#!/bin/sh\n[ "$*" = is-system-running ] && echo ${state}\nexit ${code}\n`);
    await chmod(program, 0o755);
    expect(await isMachineStopping(directory)).toBe(isStopping);
  });

  it('without systemd does not go down', async () => {
    expect(await isMachineStopping(join(directory, 'nowhere'))).toBe(false);
  });
});
