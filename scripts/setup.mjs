// Brings the work tree to a runnable state: locked dependencies installed, dist built. Dependency-free, because it runs before anything
// is installed. Each step is skipped when its inputs have not changed since it last succeeded.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const minimum = [20, 19];
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < minimum[0] || (major === minimum[0] && minor < minimum[1])) {
  process.stderr.write(
    `✗ Node ${process.versions.node} is too old\n  Midship needs Node ${minimum.join('.')} or newer.\n  Install a current Node and run the command again.\n`,
  );
  process.exit(2);
}

/** Runs a command with its output shown; exits with its code when it fails. */
export function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (result.error !== undefined) {
    process.stderr.write(`✗ ${command} could not be started\n  ${result.error.message}\n`);
    process.exit(2);
  }
  if (result.status !== 0) process.exit(result.status ?? 1);
}

/** Digest of file names, sizes and modification times below `folders`: cheap, and changes with every edit. */
function fingerprint(folders) {
  const hash = createHash('sha256');
  const visit = (path) => {
    const stat = statSync(path);
    if (!stat.isDirectory()) {
      hash.update(`${path}\0${stat.size}\0${stat.mtimeMs}\n`);
      return;
    }
    for (const name of readdirSync(path).sort()) visit(join(path, name));
  };
  for (const folder of folders) visit(join(root, folder));
  return hash.digest('hex');
}

/** Runs `action` unless `stamp` already holds `state`. */
function unlessDone(stamp, state, action) {
  const path = join(root, stamp);
  if (existsSync(path) && readFileSync(path, 'utf8') === state) return;
  action();
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, state);
}

/** Installs what package-lock.json names, then compiles src to dist. */
export function setUp() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .update(process.versions.modules)
    .digest('hex');
  unlessDone('node_modules/.midship-installed', lock, () => {
    process.stderr.write('  installing dependencies (once; sqlite3 is compiled, which takes about a minute)\n');
    run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error']);
  });
  unlessDone('dist/.midship-built', fingerprint(['src', 'tsconfig.json', 'package-lock.json', 'scripts/build.mjs']), () => {
    process.stderr.write('  building\n');
    run(process.execPath, ['scripts/build.mjs']);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setUp();

/**
 * Environment of the program. glibc's allocator raises its trim threshold when the program's own large file is read and freed. Then 7 MiB
 * of a start's memory stay resident. A fixed threshold, the usual one, releases them. It costs no processor time.
 */
export const programEnvironment = { MALLOC_TRIM_THRESHOLD_: '131072', ...process.env };
