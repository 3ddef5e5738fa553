import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const source = fileURLToPath(new URL('../../src', import.meta.url));

/** Folder of `src` to what it may import besides itself: the table of CONTRIBUTING.md. */
const folders: Readonly<Record<string, readonly string[]>> = {
  base: [],
  machinery: [],
  api: ['machinery'],
  lifecycle: ['api', 'machinery', 'base'],
  storage: ['machinery', 'base'],
  client: ['api', 'machinery', 'base'],
  apiserver: ['storage', 'client', 'api', 'machinery', 'base'],
  reconcile: ['client', 'lifecycle', 'api', 'machinery', 'base'],
  ...Object.fromEntries(
    ['gitops', 'controllers', 'scheduler', 'node-agent', 'proxy', 'web'].map((component) => [
      component,
      ['reconcile', 'client', 'lifecycle', 'api', 'machinery', 'base'],
    ]),
  ),
  cli: ['client', 'lifecycle', 'api', 'machinery', 'base', 'gitops/sources', 'gitops/render', 'gitops/verbs'],
};

/** Package to the only places that may import it. */
const doors: Readonly<Record<string, readonly string[]>> = {
  'isomorphic-git': ['gitops/sources'],
  chokidar: ['gitops/sources'],
  'js-yaml': ['machinery/yaml.ts'],
  sqlite3: ['storage/sqlite'],
  fastify: ['apiserver', 'web'],
  'prom-client': ['base/metrics.ts'],
  xstate: ['lifecycle'],
  ws: ['apiserver', 'client', 'node-agent'],
  '@peculiar/x509': ['base/pki.ts', 'base/pki'],
  'reflect-metadata': ['base/pki.ts', 'base/pki'],
  jose: ['base/pki.ts', 'base/pki', 'apiserver'],
  pino: ['base/log.ts', 'cli'],
  commander: ['cli'],
  picocolors: ['cli', 'main.ts'],
  tar: ['cli'],
  preact: ['web'],
  'preact-render-to-string': ['web'],
  'kubernetes-types': ['api'],
  '@marcbachmann/cel-js': ['machinery/cel'],
  re2js: ['machinery/cel', 'machinery/pattern.ts'],
  semver: ['gitops/sources'],
};

const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((name) => /\.tsx?$/.test(name));
const importsOf = (file: string): string[] =>
  [
    ...readFileSync(join(source, file), 'utf8').matchAll(
      /(?:^|\n)\s*(?:import|export)\b[^'";]*?from '([^']+)'|import\('([^']+)'\)|(?:^|\n)import '([^']+)'/g,
    ),
  ].map(([, a, b, c]) => a ?? b ?? c ?? '');
const isBelow = (path: string, place: string): boolean => path === place || path.startsWith(`${place}/`);

describe('imports', () => {
  it('follow the table of folders', () => {
    const wrong: string[] = [];
    for (const file of files) {
      const [folder = ''] = file.split(sep);
      // main.ts starts the program, compose.ts and compose-gitops.ts wire its parts.
      if (['main.ts', join('cli', 'compose.ts'), join('cli', 'compose-gitops.ts')].includes(file)) continue;
      const allowed = folders[folder];
      expect(allowed, `${folder} is in the table`).toBeDefined();
      for (const name of importsOf(file).filter((path) => path.startsWith('.'))) {
        const target = relative(source, join(source, dirname(file), name))
          .split(sep)
          .join('/');
        if (!isBelow(target, folder) && !(allowed ?? []).some((place) => isBelow(target, place))) wrong.push(`${file} imports ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('of packages go through their doors', () => {
    const wrong: string[] = [];
    for (const file of files) {
      const path = file.split(sep).join('/');
      for (const name of importsOf(file).filter((each) => !each.startsWith('.') && !each.startsWith('node:'))) {
        const packageName = name
          .split('/')
          .slice(0, name.startsWith('@') ? 2 : 1)
          .join('/');
        const places = doors[packageName];
        if (places === undefined) wrong.push(`${path} imports ${packageName}, which has no row in the table`);
        else if (!places.some((place) => isBelow(path, place))) wrong.push(`${path} imports ${packageName}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});
