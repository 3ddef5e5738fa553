import { stripVTControlCharacters } from 'node:util';
import pc from 'picocolors';
import { plain, printable } from '../base/plain-text.ts';
import type { KubeObject } from '../machinery/object.ts';
import type { Format } from './format.ts';

/** Writes a result for programs, or the text that `asText` makes of it for people. Only an answer in YAML loads the writer of YAML. */
export async function writeResult<T>(
  { output, format }: { readonly output: NodeJS.WritableStream; readonly format: Format },
  result: T,
  asText: (result: T) => string,
): Promise<void> {
  if (format === 'text') output.write(printable(asText(result)));
  else output.write(format === 'json' ? `${formatJson(result)}\n` : (await import('../machinery/yaml.ts')).formatYaml(result));
}

/** JSON leaves the control characters above ASCII as they are; some terminals act on them. */
export const formatJson = (value: unknown, indent = 2): string =>
  JSON.stringify(value, undefined, indent).replace(/[\u007f-\u009f]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`);

/** As kubectl shows objects to programs: who wrote which field is left out. */
export function withoutManagedFields<T extends KubeObject>(object: T): T {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}

/**
 * Columns with two spaces between them; the first row is the head. Texts of others lose their control characters, and ids of commits all
 * but seven digits. Rows are cut to the width of the terminal, when there is one.
 */
export function table(rows: readonly (readonly string[])[], width: number | undefined = terminalWidth()): string {
  const cells = rows.map((row) => row.map((cell) => shortShas(plain(cell))));
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  return cells
    .map((row) => row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  '))
    .map((line) => `${cutTo(line.trimEnd(), width)}\n`)
    .join('');
}

const shortShas = (text: string): string => text.replace(/\b([0-9a-f]{7})[0-9a-f]{33}\b/g, '$1');

/** The columns of the terminal; undefined where the output is no terminal, and no line is cut or broken. */
const terminalWidth = (): number | undefined => process.stdout.columns;

const escapeCharacter = String.fromCharCode(27);
const colours = new RegExp(`(${escapeCharacter}\\[[0-9;]*m)`);

/** A line of at most `width` columns, with an ellipsis in place of the rest. Colours take no columns, and end where they began. */
export function cutTo(line: string, width: number | undefined = terminalWidth()): string {
  if (width === undefined || width < 2 || stripVTControlCharacters(line).length <= width) return line;
  let left = width - 1;
  let cut = '';
  for (const part of line.split(colours)) {
    if (part.startsWith(escapeCharacter)) cut += part;
    else if (left >= 0) {
      cut += part.length <= left ? part : `${part.slice(0, left)}…`;
      left = part.length <= left ? left - part.length : -1;
    }
  }
  return cut;
}

/** Narrower terminals get long lines, and wrap them as they like. */
const minTextWidth = 20;

/** Text in lines of at most `width` columns, broken between words; each line but the first begins with `indent` spaces. */
export function wrapText(text: string, indent = 0, width: number | undefined = terminalWidth()): string {
  if (width === undefined || width - indent < minTextWidth) return text;
  const lines: string[] = [];
  let line: string | undefined;
  for (const word of text.split(' ')) {
    const longer: string = line === undefined ? word : `${line} ${word}`;
    if (line !== undefined && longer.length > width - indent) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line ?? ''].join(`\n${' '.repeat(indent)}`);
}

/** Names and their values, one pair a line; long values are broken beside their names. */
export function facts(rows: readonly (readonly [name: string, value: string])[], columns: number | undefined = terminalWidth()): string {
  const shown = rows.filter(([, value]) => value !== '');
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${pc.dim(name.padEnd(width))}  ${wrapText(plain(value), width + 2, columns)}\n`).join('');
}

export const shortSha = (revision = ''): string => revision.slice(revision.lastIndexOf(':') + 1).slice(0, 7);

/** First line of a message: tables have one line a row. */
export const firstLine = (text = ''): string => text.split('\n')[0] ?? '';

/** `0.04 s`, `1.2 s`, `12 s`, `3 m`, `5 h`, `6 d` */
export function durationText(ms: number): string {
  const seconds = Math.max(0, ms) / 1_000;
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** The age of an RFC 3339 time; empty for a text that is none. */
export function ageText(time: string, now: number): string {
  const at = Date.parse(time);
  return Number.isNaN(at) ? '' : durationText(now - at);
}
