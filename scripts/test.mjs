// npm test [-- VITEST ARGS]: set-up, then every tier of test/README.md.
import { root, run, setUp } from './setup.mjs';

setUp();
run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...process.argv.slice(2)], { cwd: root });
