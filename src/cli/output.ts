import pc from 'picocolors';
import { plain, printable } from '../base/plain-text.ts';
import type { KubeObject } from '../machinery/object.ts';
import { formatYaml } from '../machinery/yaml.ts';
import type { Format } from './format.ts';

/** Writes a result for programs, or the text that `asText` makes of it for people. */
export function writeResult<T>(
  { output, format }: { readonly output: NodeJS.WritableStream; readonly format: Format },
  result: T,
  asText: (result: T) => string,
): void {
  if (format === 'text') output.write(printable(asText(result)));
  else output.write(format === 'json' ? `${formatJson(result)}\n` : formatYaml(result));
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
export function table(rows: readonly (readonly string[])[], width: number | undefined = process.stdout.columns): string {
  const cells = rows.map((row) => row.map((cell) => shortShas(plain(cell))));
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  return cells
    .map((row) => row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  '))
    .map((line) => `${cutTo(line.trimEnd(), width)}\n`)
    .join('');
}

const shortShas = (text: string): string => text.replace(/\b([0-9a-f]{7})[0-9a-f]{33}\b/g, '$1');

/** A line without colours, with an ellipsis in place of what a terminal would wrap. */
const cutTo = (line: string, width: number | undefined): string =>
  width === undefined || width < 2 || line.length <= width ? line : `${line.slice(0, width - 1)}…`;

/** Names and what they are, one a line. */
export function facts(rows: readonly (readonly [name: string, value: string])[]): string {
  const shown = rows.filter(([, value]) => value !== '');
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${pc.dim(name.padEnd(width))}  ${plain(value)}\n`).join('');
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

/** How long ago an RFC 3339 time was; empty for what is none. */
export function ageText(time: string, now: number): string {
  const at = Date.parse(time);
  return Number.isNaN(at) ? '' : durationText(now - at);
}
