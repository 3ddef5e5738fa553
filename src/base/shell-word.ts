/** A word of a POSIX shell that means exactly `text`; plain names and paths stay as they are. */
export const shellWord = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
