/** Gives the text of an error for a client. Errors of the operating system name a file of this machine, which a client has no use for. */
export function errorText(err: unknown): string {
  if (!(err instanceof Error)) return String(err);
  const { code = 'unknown error', path, syscall } = err as NodeJS.ErrnoException;
  if (path === undefined) return err.message;
  // `ENXIO: no such device or address, open '/…'`
  const [text = ''] = err.message.split(`, ${syscall} `);
  return text.includes(path) ? code : text;
}
