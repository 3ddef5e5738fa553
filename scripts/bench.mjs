// npm run bench [-- NAME… [--only WORKLOAD]]: set-up, then the benchmarks of test/bench. A table on stderr, one JSON document on stdout.
import { root, run, setUp } from './setup.mjs';

setUp();
run(process.execPath, ['test/bench/main.mjs', ...process.argv.slice(2)], { cwd: root });
