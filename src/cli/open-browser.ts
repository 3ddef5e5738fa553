import { spawn } from 'node:child_process';

/**
 * Opens an address in the browser of the desktop. `onMissing` is called when nothing can: there is no desktop, or no program for it. The
 * address must be no secret, because every user of the machine can read the arguments of a program.
 */
export function openBrowser(address: string, onMissing: () => void): void {
  const opener = spawn(process.platform === 'darwin' ? 'open' : 'xdg-open', [address], { stdio: 'ignore', detached: true });
  let isReported = false;
  const report = (): void => {
    if (!isReported) onMissing();
    isReported = true;
  };
  opener.on('error', report);
  opener.on('exit', (code) => {
    if (code !== 0) report();
  });
  opener.unref();
}
