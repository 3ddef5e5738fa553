// npm test [-- VITEST ARGS]: set-up, then the tiers of test/README.md, and at the end what each took and what was skipped.
// The tier `fault` runs only when an argument names it: `npm run fault` runs all of it, at the size of the gate.
import { root, run, setUp } from './setup.mjs';

setUp();
const args = process.argv.slice(2);
const lines = args.some((arg) => arg.startsWith('--reporter')) ? [] : ['--reporter=default'];
const projects = args.some((arg) => arg.startsWith('--project') || arg.includes('fault')) ? [] : ['--project=!fault'];
run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...lines, '--reporter=./scripts/test-report.mjs', ...projects, ...args], {
  cwd: root,
});
