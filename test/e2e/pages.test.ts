import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { program, run } from '../support/cluster.ts';
import { whyNoContainerd } from '../support/containerd.ts';
import { newRepository, temporaryDirectory } from '../support/git.ts';
import { hasNamespaces } from '../support/isolation.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { hasPrometheus } from '../support/prometheus.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const blocksOf = (text: string): readonly string[] => [...text.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block = '']) => block);

/** A repository as `flux bootstrap` leaves it, with one app. */
const fluxRepository = {
  'clusters/production/flux-system/gotk-sync.yaml': `apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 1m, url: 'https://git.example.com/me/fleet.git', ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 10m, path: ./clusters/production, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
`,
  'clusters/production/flux-system/kustomization.yaml': 'resources: [gotk-sync.yaml]\n',
  'clusters/production/greeting.yaml': `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: greeting, namespace: flux-system}
spec: {interval: 10m, path: ./apps/greeting, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
`,
  'apps/greeting/greeting.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: greeting, namespace: default}\ndata: {text: hello}\n',
};

const hasOpenssl = existsSync('/usr/bin/openssl');
const startUp = 'midship up > midship.log 2>&1 &\nuntil midship status > /dev/null 2>&1; do sleep 1; done';

interface Page {
  /** Runs before the first block, as the reader has done it already. */
  readonly before?: string;
  /** A block that stops the cluster finds it running again, as the reader has it by then. */
  readonly restarts?: boolean;
  readonly lacks?: string | undefined;
}

const pages: Readonly<Record<string, Page>> = {
  'README.md': { before: 'midship demo -d\nmidship wait storefront', ...(hasNamespaces ? {} : { lacks: 'user namespaces' }) },
  'docs/how-to/alerts-and-grafana.md': hasPrometheus ? {} : { lacks: 'prometheus' },
  'docs/how-to/backup-move-upgrade.md': { before: startUp, restarts: true },
  'docs/how-to/keep-secrets.md': hasOpenssl ? {} : { lacks: 'openssl' },
  'docs/how-to/move-from-flux.md': {},
  'docs/how-to/open-the-page.md': {},
  'docs/how-to/roll-back.md': hasNamespaces ? {} : { lacks: 'user namespaces' },
  'docs/how-to/run-containers.md': {
    before: 'ln -s "$MIDSHIP/examples-repo" examples-repo',
    ...(whyNoContainerd === undefined ? {} : { lacks: `containers (${whyNoContainerd})` }),
  },
  'docs/how-to/send-notifications.md': {},
  'docs/how-to/several-environments.md': hasNamespaces ? {} : { lacks: 'user namespaces' },
  'docs/how-to/troubleshoot.md': {},
  'docs/how-to/use-your-own-repository.md': {},
};

describe.skipIf(!hasKubectl)('the commands of the pages (needs kubectl)', () => {
  it('are those of the README and of every how-to page that has some', () => {
    const written = readdirSync(join(root, 'docs/how-to'))
      .map((name) => `docs/how-to/${name}`)
      .filter((name) => blocksOf(readFileSync(join(root, name), 'utf8')).length > 0);
    expect(Object.keys(pages)).toEqual(['README.md', ...written.sort()]);
  });

  // Each has a cluster of its own, and mostly waits for it.
  it.concurrent.for(Object.keys(pages))('%s works line by line', { timeout: 240_000 }, (name, context) => {
    const page = pages[name] ?? {};
    if (page.lacks !== undefined) context.skip(`needs ${page.lacks}`);
    return follow(name, page);
  });
});

async function follow(name: string, { before = '', restarts = false }: Page): Promise<void> {
  const directory = await temporaryDirectory('page');
  const fleet = await newRepository('fleet', fluxRepository);
  await mkdir(join(directory, 'bin'));
  await writeFile(join(directory, 'bin', 'midship'), `#!/bin/sh\nexec "${process.execPath}" "${program}" "$@"\n`);
  await chmod(join(directory, 'bin', 'midship'), 0o755);
  const environment = {
    ...process.env,
    PATH: `${join(directory, 'bin')}:${process.env.PATH}`,
    HOME: directory,
    MIDSHIP: root,
    REPOSITORY: fleet.directory,
    MIDSHIP_API_PORT: '0',
    MIDSHIP_HTTP_PORT: '0',
    MIDSHIP_DATA_DIR: join(directory, '.midship'),
    GIT_AUTHOR_NAME: 'Mara',
    GIT_AUTHOR_EMAIL: 'mara@example.com',
    GIT_COMMITTER_NAME: 'Mara',
    GIT_COMMITTER_EMAIL: 'mara@example.com',
    NO_COLOR: '1',
  };
  const shell = (script: string) => run('bash', ['-euo', 'pipefail', '-c', script], environment, directory);
  const blocks = blocksOf(await readFile(join(root, name), 'utf8'));
  expect(blocks.length).toBeGreaterThan(0);
  try {
    const prepared = await shell(before);
    expect(prepared.code, `${prepared.stdout}\n${prepared.stderr}`).toBe(0);
    // Later blocks have the variables that earlier ones export.
    let exported = '';
    for (const block of blocks) {
      const start = restarts && block.includes('midship down') ? `midship status > /dev/null 2>&1 || { ${startUp}\n}\n` : '';
      const { code, stdout, stderr } = await shell(exported + start + block);
      expect(code, `${block}\n${stdout}\n${stderr}`).toBe(0);
      exported += (block.match(/^export .*$/gm) ?? []).map((line) => `${line}\n`).join('');
    }
  } finally {
    await shell('midship down --purge --yes || true');
  }
  expect(existsSync(join(directory, '.midship'))).toBe(false);
  for (const made of [directory, fleet.directory]) await rm(made, { recursive: true, force: true });
}
