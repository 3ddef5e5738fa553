// A directory of 1,000 files, 199 overlays over one base, built here and by the real program in the same run. Cold is a process each;
// in process, the first build reads and parses everything and the later ones what has changed, which is nothing.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { directoryTree } from '../../dist/gitops/render/kustomize/directory-tree.js';
import { createRenderer } from '../../dist/gitops/render/kustomize/render.js';
import { temporary } from './cluster.mjs';

const overlays = 199;
const rounds = 7;

export async function kustomize() {
  const root = temporary('kustomize');
  const files = writeOverlays(root);
  if (files !== 1_000) throw new Error(`${files} files`);
  const program = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
  const maxBuffer = 64 * 1024 * 1024;
  const hasKustomize = spawnSync('kustomize', ['version']).status === 0;
  const real = [];
  const ours = [];
  const first = [];
  const again = [];
  for (let round = 0; round < rounds; round += 1) {
    // Interleaved, so that both see the same machine.
    if (hasKustomize)
      real.push(timed(() => execFileSync('kustomize', ['build', root], { maxBuffer, stdio: ['ignore', 'pipe', 'ignore'] })));
    ours.push(timed(() => execFileSync(process.execPath, [program, 'build', root], { maxBuffer })));
    const renderer = createRenderer();
    const tree = directoryTree(root);
    for (const samples of [first, again]) {
      const startedAt = performance.now();
      const objects = await renderer.render({ tree, path: '' });
      samples.push(performance.now() - startedAt);
      if (objects.length !== overlays * 5) throw new Error(`${objects.length} objects`);
    }
  }
  return [
    ...(hasKustomize ? [{ name: 'kustomize build, 1,000 files, baseline', unit: 'ms', samples: real }] : []),
    { name: 'midship build, 1,000 files', unit: 'ms', samples: ours },
    { name: 'in process, first', unit: 'ms', samples: first },
    { name: 'in process, files parsed before', unit: 'ms', samples: again },
  ];
}

function timed(action) {
  const startedAt = performance.now();
  action();
  return performance.now() - startedAt;
}

function writeOverlays(root) {
  let files = 0;
  const write = (name, text) => {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
    files += 1;
  };
  write(
    'base/kustomization.yaml',
    'resources: [deployment.yaml, service.yaml, access.yaml]\nlabels: [{pairs: {app: web}, includeSelectors: true}]\n',
  );
  write(
    'base/deployment.yaml',
    `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 1\n  selector: {matchLabels: {tier: web}}\n  template:\n    metadata: {labels: {tier: web}}\n    spec:\n      serviceAccountName: web\n      containers:\n      - name: web\n        image: nginx:1.0\n        ports: [{containerPort: 80}]\n        envFrom: [{configMapRef: {name: settings}}]\n`,
  );
  write('base/service.yaml', 'apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {tier: web}, ports: [{port: 80}]}\n');
  write('base/access.yaml', 'apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n');
  const names = Array.from({ length: overlays }, (_, index) => `overlays/${index}`);
  write('kustomization.yaml', `resources:\n${names.map((name) => `- ${name}\n`).join('')}`);
  for (const [index, name] of names.entries()) {
    write(
      `${name}/kustomization.yaml`,
      `namespace: n${index}\nnamePrefix: p${index}-\nresources: [../../base, extra.yaml]\nimages: [{name: nginx, newTag: "2.${index}"}]\npatches:\n- path: replicas.yaml\n- path: env.yaml\n  target: {kind: Deployment}\nconfigMapGenerator:\n- name: settings\n  envs: [settings.env]\n`,
    );
    write(`${name}/extra.yaml`, `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\ndata: {index: "${index}"}\n`);
    write(`${name}/replicas.yaml`, `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: ${index}}\n`);
    write(`${name}/env.yaml`, '- op: add\n  path: /spec/template/spec/containers/0/env\n  value: [{name: A, value: "1"}]\n');
    write(`${name}/settings.env`, `INDEX=${index}\nLEVEL=info\n`);
  }
  return files;
}
