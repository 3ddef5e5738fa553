// npm run check: format and lint, types, unused code, language.
import { run } from './setup.mjs';

run(process.execPath, ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.']);
run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json', '--noEmit']);
run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.test.json']);
run(process.execPath, ['node_modules/knip/bin/knip.js']);
run(process.execPath, ['scripts/language.mjs']);
