import { readFile } from 'node:fs/promises';
import { filesOf } from './configuration.ts';
import { type ExitCode, Failure } from './failure.ts';

export interface KubeconfigOptions {
  readonly dataDirectory: string;
  readonly print: boolean;
  readonly output: NodeJS.WritableStream;
}

/** Prints where the kubeconfig is, or its content: `export KUBECONFIG=$(midship kubeconfig)`. */
export async function kubeconfig({ dataDirectory, print, output }: KubeconfigOptions): Promise<ExitCode> {
  const text = await readOwnKubeconfig(dataDirectory);
  output.write(print ? text : `${filesOf(dataDirectory).kubeconfig}\n`);
  return 0;
}

/** @throws Failure when the cluster was never started */
export async function readOwnKubeconfig(dataDirectory: string): Promise<string> {
  return readFile(filesOf(dataDirectory).kubeconfig, 'utf8').catch((cause: unknown) => {
    throw new Failure(`there is no kubeconfig in ${dataDirectory}`, {
      why: 'It is written when the cluster starts for the first time.',
      fix: 'Start it with "npm start" or "midship up", or give --data-dir DIR.',
      cause,
    });
  });
}
