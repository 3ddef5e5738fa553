// npm run generate [-- --check | --missing-packages]: writes every generated file of the project from its sources.
//
//   src/api/schemas.json, protobuf.json, go-structs.json   scripts/gen-*.mjs, from Debian's Go packages and from models of the npm registry
//   docs/reference/cli.md, dashboards/*.json, src/lifecycle/README.md   the tests that compare them, as `UPDATE_GOLDEN=1` writes them
//
// `--check` writes nothing. It makes the files of src/api in a temporary folder, and exits with 1 when one differs or with 3 when a source
// is missing. `npm test` itself compares the other files. `--missing-packages` prints the Debian packages that are still to be installed.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root, run } from './setup.mjs';

/** Debian package, where its sources lie, and the version that the committed files were made from. */
const goPackages = [
  { name: 'golang-k8s-api-dev', folder: 'api', version: '0.32.3' },
  { name: 'golang-k8s-apimachinery-dev', folder: 'apimachinery', version: '0.32.3' },
  { name: 'golang-k8s-client-go-dev', folder: 'client-go', version: '0.32.3' },
];
const goRoot = '/usr/share/gocode/src/k8s.io';

/** The models of Kubernetes 1.36, for types that are newer than Debian's packages. They are read as text and never run. */
const models = {
  name: '@kubernetes/client-node',
  version: '2.0.1',
  archive: 'kubernetes-client-node-2.0.1.tgz',
  integrity: 'sha512-evJgmEtgArEYlj6DNkMGjK41IrFK/hEwb5lWVxx0VRBWybQpnvi+2TtA19mLgVfRHfqX5yjHObX6e9W7LEZBjw==',
};

const { values: options } = parseArgs({
  options: { check: { type: 'boolean', default: false }, 'missing-packages': { type: 'boolean', default: false } },
});
const missing = goPackages.filter(({ folder }) => !existsSync(join(goRoot, folder))).map(({ name }) => name);
if (options['missing-packages']) {
  if (missing.length > 0) process.stdout.write(`${missing.join(' ')}\n`);
  process.exit(0);
}
if (missing.length > 0) stop(3, 'the sources are not installed', `apt-get install --no-install-recommends ${missing.join(' ')}`);
for (const { name, version } of goPackages) {
  const installed = spawnSync('dpkg-query', ['-W', '-f', `\${Version}`, name], { encoding: 'utf8' }).stdout ?? '';
  if (installed.startsWith(`${version}-`)) continue;
  if (options.check) stop(3, `${name} is ${installed || 'of no known version'}, the files are from ${version}`, 'run npm run generate');
  process.stderr.write(`  ${name} is ${installed || 'of no known version'}: put that into scripts/generate.mjs when you commit\n`);
}

const work = mkdtempSync(join(tmpdir(), 'midship-generate-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));
const target = options.check ? work : join(root, 'src/api');
const files = ['schemas.json', 'protobuf.json', 'go-structs.json'];
generate('gen-schemas.mjs', ['--client-node', unpackedModels(), '--out', join(target, 'schemas.json')]);
generate('gen-protobuf.mjs', ['--schemas', join(target, 'schemas.json'), '--out', join(target, 'protobuf.json')]);
generate('gen-go-structs.mjs', ['--out', join(target, 'go-structs.json')]);

if (options.check) {
  const different = files.filter((file) => !readFileSync(join(work, file)).equals(readFileSync(join(root, 'src/api', file))));
  if (different.length > 0)
    stop(1, `${different.map((file) => `src/api/${file}`).join(', ')} differ from their sources`, 'run npm run generate');
  process.stderr.write(`  ${files.length} generated files are as their sources say\n`);
} else {
  const pages = ['test/unit/cli/reference.test.ts', 'test/unit/dashboards', 'test/unit/lifecycle/figures.test.ts'];
  run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--project', 'unit', ...pages], {
    env: { ...process.env, UPDATE_GOLDEN: '1' },
  });
}

function generate(script, args) {
  run(process.execPath, [join(root, 'scripts', script), '--go-root', goRoot, ...args]);
}

/** The folder of the models: kept beside the other downloads of the tests, fetched when it is not there, its hash checked. */
function unpackedModels() {
  const folder = join(root, 'node_modules/.cache/midship', `client-node-${models.version}`);
  if (existsSync(join(folder, 'package'))) return join(folder, 'package');
  const packed = spawnSync('npm', ['pack', '--silent', `${models.name}@${models.version}`], { cwd: work, encoding: 'utf8' });
  if (packed.status !== 0) stop(3, `${models.name} could not be fetched`, packed.stderr.trim().slice(-200));
  const archive = readFileSync(join(work, models.archive));
  const integrity = `sha512-${createHash('sha512').update(archive).digest('base64')}`;
  if (integrity !== models.integrity) stop(1, `${models.archive} is ${integrity}`, `expected ${models.integrity}`);
  mkdirSync(folder, { recursive: true });
  run('tar', ['-xzf', join(work, models.archive), '-C', folder]);
  return join(folder, 'package');
}

function stop(code, what, hint) {
  process.stderr.write(`✗ nothing was ${options.check ? 'compared' : 'generated'}: ${what}\n  ${hint}\n`);
  process.exit(code);
}
