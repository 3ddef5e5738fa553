// Compiles src to dist, copies the files that are read at run time (schemas, styles, fonts), and bundles the program.
import { chmodSync, cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { shareClassesOfCopies } from './object-spreads.mjs';
import { root, run } from './setup.mjs';

rmSync(join(root, 'dist'), { recursive: true, force: true });
run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
// The script of the page runs in browsers, so it is compiled against other types.
run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.client.json']);
cpSync(join(root, 'src'), join(root, 'dist'), { recursive: true, filter: (from) => !/\.(ts|tsx|md)$/.test(from) });

// Loading some 700 modules one by one took longer than the rest of a start. dist/main.js becomes one file with the
// modules of every start. Parts that are loaded on demand get one file each. The single modules stay for workers,
// benchmarks and tests.
/** Module that takes the place of node:child_process. */
const noPrograms = 'no-programs.cjs';
/** Module that takes the place of node:http2. Its own name would be taken for the module of Node, also where that is meant. */
const noHttp2 = 'no-http2.cjs';
const [{ rolldown }, { parseAst }] = await Promise.all([import('rolldown'), import('rolldown/parseAst')]);
const bundle = await rolldown({
  input: join(root, 'dist/main.js'),
  platform: 'node',
  // Native; and what fastify would load for routes with schemas and for requests that are not from the network.
  external: ['sqlite3', '@fastify/ajv-compiler', '@fastify/fast-json-stringify-compiler', 'light-my-request'],
  plugins: [
    {
      name: 'no HTTP/2',
      // fastify loads it at each start, for servers of a sort that none is here: 1.2 MiB.
      // The client of container runtimes speaks it, and is loaded when asked for.
      resolveId: (name, importer) => (name === 'node:http2' && importer?.includes('node_modules') === true ? noHttp2 : null),
      load: (id) => (id === noHttp2 ? 'module.exports = {};' : null),
    },
    {
      name: 'no programs beside the command',
      // commander loads it at each start, for subcommands that are programs of their own, of which there are none.
      resolveId: (name, importer) => (name === 'node:child_process' && importer?.includes('/commander/') === true ? noPrograms : null),
      load: (id) => (id === noPrograms ? 'module.exports = {};' : null),
    },
    {
      name: 'place of a module',
      // Files that lie beside a module are found from where it was, not from the bundle.
      transform(code, id) {
        const place = relative(join(root, 'dist'), id);
        if (place.startsWith('..') || !code.includes('import.meta.url')) return null;
        return { code: code.replaceAll('import.meta.url', `new URL(${JSON.stringify(place)}, import.meta.url)`), map: null };
      },
    },
  ],
});
// A verb opened up to 50 files of a few lines each, which took longer than their code. These modules go into one file each with all they
// need; a module that several of them need is in the first of them.
const files = {
  main: ['failure', 'heap'],
  program: ['program'],
  status: ['status'],
  questions: ['connect', 'apps', 'why'],
  objects: ['tree', 'why-object'],
};
const groups = Object.entries(files).map(([name, modules], index, all) => {
  const paths = modules.map((module) => join(root, `dist/cli/${module}.js`));
  return { name, priority: all.length - index, test: (id) => paths.includes(id) };
});
// V8 keeps the text of a program for as long as it runs: at a byte a character when it is ASCII. That is 3.3 MB, and 4.3 as it is written.
// Names of functions and classes stay, and lines, of which Node prints the one that an error was not caught in. For lines of the modules in
// a stack trace run it with NODE_OPTIONS=--enable-source-maps.
const { output } = await bundle.write({
  dir: join(root, 'dist'),
  format: 'esm',
  chunkFileNames: 'part-[name].js',
  codeSplitting: { groups },
  comments: false,
  charset: 'ascii',
  minify: { compress: true, mangle: { keepNames: { function: true, class: true } }, codegen: { removeWhitespace: false } },
  sourcemap: true,
});
await bundle.close();
// Last, since compression takes out what has no effect. No line moves.
for (const { type, fileName } of output) {
  if (type !== 'chunk') continue;
  const file = join(root, 'dist', fileName);
  writeFileSync(file, shareClassesOfCopies(readFileSync(file, 'utf8'), parseAst));
}
// npm makes the command executable when it links or installs it; a copy of dist is used without npm.
chmodSync(join(root, 'dist/main.js'), 0o755);
