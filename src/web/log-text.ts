import { plainLines } from '../base/plain-text.ts';

/** Sequences by which programs colour lines and move cursors: ESC [ … letter, ESC ] … BEL, and ESC with one character. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
const escapes = /\u001b(?:\[[0-9;:?<=>]*[ -/]*[@-~]|\][^\u0007\u001b]{0,4096}(?:\u0007|\u001b\\)|[@-Z\\^_])/g;

/** A log as text: no colours, and no character that acts on whoever reads it. */
export const plainLog = (text: string): string => plainLines(text.replaceAll('\r\n', '\n').replace(escapes, ''));

/** Longer lines come in parts. */
const maxLineLength = 16 * 1024;

/** Cuts a stream of text into lines; the last one waits for its end. */
export function createLineCutter(): (chunk: string) => readonly string[] {
  let rest = '';
  return (chunk) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    const parts: string[] = [];
    for (; rest.length > maxLineLength; rest = rest.slice(maxLineLength)) parts.push(rest.slice(0, maxLineLength));
    return [...lines, ...parts];
  };
}
