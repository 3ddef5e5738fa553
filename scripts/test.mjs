// npm test [-- VITEST ARGS]: set-up, then the tiers of test/README.md, and at the end what each took and what was skipped.
// The tiers `machines` and `fault` run only when an argument names them: `npm run fault` runs all of both, at the size of the gate.
import { root, run, setUp } from './setup.mjs';

setUp();
const args = process.argv.slice(2);
const lines = args.some((arg) => arg.startsWith('--reporter')) ? [] : ['--reporter=default'];
const isNamed = args.some((arg) => arg.startsWith('--project') || /fault|machines/.test(arg));
const tiers = ['unit', 'integration', 'integration-alone', 'conformance', 'e2e'];
const projects = isNamed ? [] : tiers.map((tier) => `--project=${tier}`);
run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...lines, '--reporter=./scripts/test-report.mjs', ...projects, ...args], {
  cwd: root,
});
