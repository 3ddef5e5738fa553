// Compiles src to dist and copies the files that are read at run time (schemas, styles, fonts).
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './setup.mjs';

rmSync(join(root, 'dist'), { recursive: true, force: true });
run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
cpSync(join(root, 'src'), join(root, 'dist'), { recursive: true, filter: (from) => !/\.(ts|tsx|md)$/.test(from) });
