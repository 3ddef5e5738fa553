/** Asks yes or no at the terminal; everything but yes is no. Undefined where nobody can be asked. */
export function confirmAt(input: NodeJS.ReadStream, output: NodeJS.WriteStream): ((question: string) => Promise<boolean>) | undefined {
  if (input.isTTY !== true || output.isTTY !== true) return undefined;
  return async (question) => {
    const { createInterface } = await import('node:readline/promises');
    const lines = createInterface({ input, output });
    const closed = new Promise<string>((resolve) => lines.once('close', () => resolve('')));
    try {
      // Ctrl-C and the end of the input close it without an answer.
      return /^\s*y(es)?\s*$/i.test(await Promise.race([lines.question(`${question} [y/N] `), closed]));
    } finally {
      lines.close();
    }
  };
}
