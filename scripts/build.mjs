// Compiles src to dist and copies the files that are read at run time (schemas, styles, fonts).
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './setup.mjs';

rmSync(join(root, 'dist'), { recursive: true, force: true });
run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
// The script of the page runs in browsers, so it is compiled against other types.
run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.client.json']);
cpSync(join(root, 'src'), join(root, 'dist'), { recursive: true, filter: (from) => !/\.(ts|tsx|md)$/.test(from) });
