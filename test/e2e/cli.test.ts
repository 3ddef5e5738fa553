import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { program, run } from '../support/cluster.ts';

const examples = join(import.meta.dirname, '../../examples-repo/apps/storefront');

it.each([['--help'], ['build', examples]])('midship %s whose reader is gone ends as other programs do, without a word', async (...args) => {
  const command = `'${process.execPath}' '${program}' ${args.join(' ')} | true; exit "\${PIPESTATUS[0]}"`;
  expect(await run('bash', ['-c', command])).toEqual({ code: 141, stdout: '', stderr: '' });
});

it('the built program runs by its path, without npm', async () => {
  expect(await run(program, ['--version'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
});

const dist = dirname(program);

/** Modules that a file of the bundle was made of: paths below `dist`, packages as `node_modules/NAME/…`. */
function modulesOf(file: string): readonly string[] {
  if (!existsSync(`${file}.map`)) return [];
  const { sources } = JSON.parse(readFileSync(`${file}.map`, 'utf8')) as { readonly sources: readonly string[] };
  return sources.map((source) => source.replace(/^(\.\.\/)+/, ''));
}

const bundled = readdirSync(dist).filter((name) => /^part-.*\.js$/.test(name));

/** Modules of a built file and of all files that it imports before it runs. */
function loadedBy(file: string, seen = new Set<string>()): readonly string[] {
  if (seen.has(file)) return [];
  seen.add(file);
  const imports = readFileSync(file, 'utf8').matchAll(/^(?:import|export)\b[^'";]*?["'](\.[^"']+)["']/gm);
  return [...modulesOf(file), ...[...imports].flatMap(([, name = '']) => loadedBy(join(dirname(file), name), seen))];
}

/** Packages that every command needs: the command line and colours. Those that read a kubeconfig need YAML too. */
const neededPackages = ['commander', 'picocolors'];
/** Modules of a running cluster, and the rules and compilers that judge objects. */
const clusterModules =
  /^(storage|apiserver|controllers|scheduler|node-agent|proxy|web|reconcile|gitops\/(render\/builder|engine|apply\/(sync|acts|target)|apply\/observe\/(?!health|pod-generations)))\b|^machinery\/cel\b|^api\/kinds\.js$|^base\/log\.js$|^cli\/compose/;

it.each(['program', 'status', 'apps', 'history', 'why', 'events', 'trace', 'tree', 'why-object'])(
  'the module cli/%s loads no part of a cluster',
  (name) => {
    const part = bundled.find((file) => modulesOf(join(dist, file)).includes(`cli/${name}.js`));
    const modules = part === undefined ? [] : loadedBy(join(dist, part));
    expect(modules).toContain(`cli/${name}.js`);
    expect(modules.filter((module) => clusterModules.test(module))).toEqual([]);
    const packages = modules.flatMap((module) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(module)?.[1] ?? []);
    const needed = ['program', 'status'].includes(name) ? neededPackages : [...neededPackages, 'js-yaml'];
    expect([...new Set(packages)].filter((each) => !needed.includes(each))).toEqual([]);
  },
);
