import { readEndpoints } from './data-directory.ts';
import type { ExitCode } from './failure.ts';

/** Prints the clone address of the built-in remote; it carries the token, so it goes to standard output only. */
export async function gitUrl({
  dataDirectory,
  output,
}: {
  readonly dataDirectory: string;
  readonly output: NodeJS.WritableStream;
}): Promise<ExitCode> {
  const { git } = await readEndpoints(dataDirectory);
  output.write(`${git}\n`);
  return 0;
}
