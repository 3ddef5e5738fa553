// npm test [-- VITEST ARGS]: set-up, then every tier of test/README.md, and at the end what each took and what was skipped.
import { root, run, setUp } from './setup.mjs';

setUp();
const args = process.argv.slice(2);
const lines = args.some((arg) => arg.startsWith('--reporter')) ? [] : ['--reporter=default'];
run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...lines, '--reporter=./scripts/test-report.mjs', ...args], { cwd: root });
