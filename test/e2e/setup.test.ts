import { readdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type CommandResult, type Endpoints, program, run } from '../support/cluster.ts';
import { temporaryDirectory } from '../support/git.ts';

const midship = (...args: string[]): Promise<CommandResult> => run(process.execPath, [program, ...args], { ...process.env, NO_COLOR: '1' });

it('is a package that runs elsewhere, with its dependencies beside it', async () => {
  const directory = await temporaryDirectory('package');
  const root = join(import.meta.dirname, '../..');
  const packed = await run('npm', ['pack', '--ignore-scripts', '--pack-destination', directory, root], process.env);
  expect(packed).toMatchObject({ code: 0 });
  const [archive = ''] = await readdir(directory);
  expect(await run('tar', ['-xzf', join(directory, archive), '-C', directory])).toMatchObject({ code: 0 });
  await symlink(join(root, 'node_modules'), join(directory, 'package/node_modules'));
  const installed = (...args: string[]) => run(process.execPath, [join(directory, 'package/dist/main.js'), ...args]);
  expect(await installed('--version')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), stderr: '' });
  expect(await readdir(join(directory, 'package'))).toEqual(expect.arrayContaining(['dashboards', 'examples-repo']));
  const service = ['install-service', 'server', '--print'];
  expect((await installed(...service)).stdout).toContain(`${directory}/package/dist/main.js server\n`);
});

it('init makes a repository that runs, open prints its page, and dashboards asks that page', async () => {
  const repository = join(await temporaryDirectory('init'), 'cluster');
  expect(await midship('init', repository)).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('--path clusters/main') });
  expect((await run('git', ['-C', repository, 'log', '--format=%s', 'main'])).stdout).toBe('Run hello\n');
  expect((await run('git', ['-C', repository, 'status', '--porcelain'])).stdout).toBe('');
  expect(await midship('init', repository)).toMatchObject({ code: 2, stderr: expect.stringContaining('is not empty') });
  const checked = await midship('validate', '--strict', '--root', repository, join(repository, 'clusters/main'));
  expect(checked).toMatchObject({ code: 0, stdout: expect.stringContaining('can be applied') });

  const data = await temporaryDirectory('init-data');
  const at = ['--data-dir', data];
  const up = ['up', '-d', ...at, '--repo', repository, '--path', 'clusters/main', '--api-port', '0', '--http-port', '0'];
  expect(await midship(...up, '--require-login')).toMatchObject({ code: 0, stderr: '' });
  try {
    expect(await midship('wait', 'hello', ...at, '--timeout', '90s')).toMatchObject({ code: 0, stderr: '' });
    const { http }: Endpoints = JSON.parse(await readFile(join(data, 'endpoints.json'), 'utf8'));
    // Not at a terminal: the link that logs in stays away from pipes and journals.
    expect((await midship('open', ...at)).stdout).toBe(`${http}   (log in by: midship page-url)\n`);

    const directory = join(await temporaryDirectory('dashboards'), 'monitoring');
    expect(await midship('dashboards', ...at, directory)).toMatchObject({ code: 0, stderr: '' });
    expect(await readdir(directory)).toEqual(
      expect.arrayContaining(['alerts.md', 'grafana', 'midship-overview.json', 'prometheus-compat.yml', 'prometheus.yml', 'rules']),
    );
    const { host } = new URL(http);
    const configuration = await readFile(join(directory, 'prometheus.yml'), 'utf8');
    expect(configuration).toContain(`targets: ["${host}"]`);
    expect(configuration).toContain(`    authorization: {credentials_file: "${join(data, 'page-token')}"}`);
    expect(await midship('dashboards', ...at, directory)).toMatchObject({ code: 2, stderr: expect.stringContaining('--force') });
    expect(await midship('dashboards', ...at, '--force', directory)).toMatchObject({ code: 0 });
  } finally {
    expect(await midship('down', ...at)).toMatchObject({ code: 0 });
  }
});
