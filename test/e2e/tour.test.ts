import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { program, type RunningCluster, run, startCluster } from '../support/cluster.ts';
import { temporaryDirectory } from '../support/git.ts';
import { hasNamespaces } from '../support/isolation.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { until } from '../support/until.ts';

const page = fileURLToPath(new URL('../../docs/tutorials/tour.md', import.meta.url));

/** The scenes of the page: heading and the lines of its shell block. */
async function scenes(): Promise<readonly { readonly title: string; readonly script: string }[]> {
  const text = await readFile(page, 'utf8');
  const tour = text.slice(text.indexOf('# The tour'));
  return tour
    .split(/^## /m)
    .map((part) => ({
      title: part.split('\n')[0] ?? '',
      script: [...part.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block).join('\n'),
    }))
    .filter(({ script }) => script !== '');
}

describe.skipIf(!hasNamespaces || !hasKubectl)('docs/tutorials/tour.md (needs user namespaces and kubectl)', () => {
  let cluster: RunningCluster;
  let directory: string;
  let environment: NodeJS.ProcessEnv;

  beforeAll(async () => {
    directory = await temporaryDirectory('tour');
    cluster = await startCluster();
    // The reader's directory: `.midship` beside it, `midship` on the PATH as after `npm link`.
    await symlink(cluster.dataDirectory, join(directory, '.midship'));
    await mkdir(join(directory, 'bin'));
    await writeFile(join(directory, 'bin', 'midship'), `#!/bin/sh\nexec "${process.execPath}" "${program}" "$@"\n`);
    await chmod(join(directory, 'bin', 'midship'), 0o755);
    environment = {
      ...process.env,
      PATH: `${join(directory, 'bin')}:${process.env.PATH}`,
      HOME: directory,
      GIT_AUTHOR_NAME: 'Mara',
      GIT_AUTHOR_EMAIL: 'mara@example.com',
      GIT_COMMITTER_NAME: 'Mara',
      GIT_COMMITTER_EMAIL: 'mara@example.com',
      NO_COLOR: '1',
    };
  });
  afterAll(() => cluster?.stop());

  it('starts with every app healthy', async () => {
    await until(() => /✓ Apps +4 of 4 healthy/.test(cluster.output()), { what: () => `the apps are healthy; ${cluster.output()}` });
    const { code, stdout } = await cluster.midship('status', '--exit-code');
    expect(stdout).toMatch(/4 apps match Git\./);
    expect(code).toBe(0);
  });

  it('works line by line', async () => {
    let work = directory;
    const outputs = new Map<string, string>();
    for (const { title, script } of await scenes()) {
      const { code, stdout, stderr } = await run('bash', ['-euo', 'pipefail', '-c', `${script}\npwd`], environment, work);
      expect(code, `${title}\n${stdout}\n${stderr}\n${cluster.output()}`).toBe(0);
      work = stdout.trimEnd().split('\n').at(-1) ?? work;
      outputs.set(title, stdout);
      if (title.startsWith('The tour') || environment.KUBECONFIG === undefined) environment.KUBECONFIG = cluster.endpoints.kubeconfig;
    }
    expect(outputs.get('4. Delete something')).toContain('saved before: ["sextant","chronometer","lead line"]');
    expect(outputs.get('5. Break it')).toMatch(/storefront .*Does not work.*nginx/);
    expect(outputs.get('7. A typing error')).toMatch(
      /apps\/storefront\/deployment\.yaml:\d+:\d+ .*unknown field "spec\.template\.spec\.containers\[0\]\.resource"/,
    );
    // Output comes through a pipe, after the event itself.
    for (const line of [
      /◆ drift +Deployment web\/storefront +spec\.replicas 5 → 9 by kubectl/,
      /Deployment web\/storefront +spec\.replicas 3 → 5/,
    ])
      await until(() => line.test(cluster.output()), { what: () => `${line} in ${cluster.output()}` });
  });
});
