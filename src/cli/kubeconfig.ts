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
  const { kubeconfig: path } = filesOf(dataDirectory);
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new Failure(`there is no kubeconfig in ${dataDirectory}`, {
      why: 'It is written when the cluster starts for the first time.',
      fix: 'Start it with "npm start" or "midship up", or give --data-dir DIR.',
      cause,
    });
  });
  output.write(print ? text : `${path}\n`);
  return 0;
}
