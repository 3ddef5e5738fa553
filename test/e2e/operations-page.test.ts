import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { program, run } from '../support/cluster.ts';
import { temporaryDirectory } from '../support/git.ts';
import { hasKubectl } from '../support/kubectl.ts';

const page = fileURLToPath(new URL('../../docs/how-to/backup-move-upgrade.md', import.meta.url));

describe.skipIf(!hasKubectl)('docs/how-to/backup-move-upgrade.md (needs kubectl)', () => {
  it('works line by line', async () => {
    const directory = await temporaryDirectory('page');
    await mkdir(join(directory, 'bin'));
    await writeFile(join(directory, 'bin', 'midship'), `#!/bin/sh\nexec "${process.execPath}" "${program}" "$@"\n`);
    await chmod(join(directory, 'bin', 'midship'), 0o755);
    const environment = {
      ...process.env,
      PATH: `${join(directory, 'bin')}:${process.env.PATH}`,
      MIDSHIP_API_PORT: '0',
      MIDSHIP_HTTP_PORT: '0',
      MIDSHIP_DATA_DIR: '.midship',
      NO_COLOR: '1',
    };
    const shell = (script: string) => run('bash', ['-euo', 'pipefail', '-c', script], environment, directory);
    const start = 'midship up > midship.log 2>&1 &\nuntil midship status > /dev/null 2>&1; do sleep 1; done';
    const blocks = [...(await readFile(page, 'utf8')).matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block = '']) => block);
    expect(blocks.length).toBeGreaterThan(7);
    expect((await shell(start)).code).toBe(0);
    try {
      for (const block of blocks) {
        // Between two sections the reader has started the cluster again.
        const before = block.includes('midship down') ? `midship status > /dev/null 2>&1 || { ${start}\n}\n` : '';
        const { code, stdout, stderr } = await shell(before + block);
        expect(code, `${block}\n${stdout}\n${stderr}`).toBe(0);
      }
    } finally {
      await shell('midship down || true');
    }
    expect(existsSync(join(directory, '.midship'))).toBe(false);
  }, 240_000);
});
