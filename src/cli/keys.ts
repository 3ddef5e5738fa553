import { isInForeground } from '../base/process-identity.ts';

/**
 * Reads single keys from the terminal, when there is one and this process is in its foreground. The kernel stops a background process
 * that reads from its terminal or changes its mode.
 *
 * @returns what gives the terminal back; undefined when no keys are read
 */
export async function listenForKeys(onKey: (key: string) => void): Promise<(() => Promise<void>) | undefined> {
  if (!(await isInForeground())) return undefined;
  const { stdin } = process;
  if (stdin.isTTY !== true) return undefined;
  stdin.setRawMode(true).setEncoding('utf8').on('data', onKey).resume();
  return async () => {
    stdin.off('data', onKey).pause();
    // A shell that took the terminal meanwhile has set its own mode.
    if (await isInForeground()) stdin.setRawMode(false);
  };
}
