// npm start [-- FLAGS]: set-up, then `midship demo FLAGS`.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { programEnvironment, root, setUp } from './setup.mjs';

setUp();
const child = spawn(process.execPath, [join(root, 'dist/main.js'), 'demo', ...process.argv.slice(2)], {
  stdio: 'inherit',
  cwd: root,
  env: programEnvironment,
});
// The terminal sends Ctrl-C to both processes; this one only waits for the child to finish its shutdown.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => signal === 'SIGTERM' && child.kill('SIGTERM'));
child.on('exit', (code, signal) => process.exit(code ?? (signal === null ? 1 : 130)));
