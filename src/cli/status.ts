import pc from 'picocolors';
import { nameOfApp } from '../api/kustomize/v1/app-name.ts';
import { appStates, isMatch, type Shape } from '../base/app-states.ts';
import type { Overview } from '../base/overview.ts';
import { plain } from '../base/plain-text.ts';
import { readEndpoints } from './data-directory.ts';
import type { ExitCode } from './failure.ts';
import { writeResult } from './output.ts';
import { requestPage } from './page-request.ts';

export interface StatusOptions {
  readonly dataDirectory: string;
  readonly format: 'text' | 'json';
  /** Exit with 1 when the cluster is not what Git says. */
  readonly failOnDifference: boolean;
  readonly output: NodeJS.WritableStream;
}

/** The verdict in words, one line an app; `git status` for the cluster. */
export async function status({ dataDirectory, format, failOnDifference, output }: StatusOptions): Promise<ExitCode> {
  const document = await requestPage<Overview>(await readEndpoints(dataDirectory), '/status.json');
  writeResult({ output, format }, document, formatStatus);
  return failOnDifference && !document.matches ? 1 : 0;
}

/** State is a shape and a word, never a colour alone. */
const glyphs: Readonly<Record<Shape, string>> = {
  ok: pc.green('●'),
  progressing: pc.blue('◔'),
  drift: pc.yellow('◆'),
  failed: pc.red('▲'),
  paused: pc.magenta('■'),
  unknown: '○',
};

/** One line an app: of many errors the first, and how many more `why` has. */
function shortened(reason: string): string {
  const [first = '', ...more] = reason.split('\n');
  return more.length === 0 ? first : `${first} (and ${more.length} more)`;
}

function formatStatus({ verdict, revision, apps }: Overview): string {
  const rows = apps.map((app) => {
    const { shape, word } = appStates[app.state];
    const notes = app.reason === '' && app.notes.length > 0 ? app.notes.join('\n') : app.reason;
    return { glyph: glyphs[shape], cells: [app.name, app.namespace, word, app.revision.slice(-40).slice(0, 7)], reason: notes };
  });
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map(({ cells }) => (cells[column] ?? '').length)));
  const lines = rows.map(({ glyph, cells, reason }) =>
    `  ${glyph} ${cells.map((cell, column) => plain(cell).padEnd(widths[column] ?? 0)).join('  ')}  ${plain(shortened(reason))}`.trimEnd(),
  );
  const bad = apps.find(({ state }) => !isMatch(state));
  const undo = bad?.cause === undefined ? '' : `        undo:   midship revert ${nameOfApp(bad)}`;
  const hint = bad === undefined ? '' : `\n  why:    midship why ${nameOfApp(bad)}${undo}\n`;
  return `${plain(verdict)}${revision === '' ? '' : `   main @ ${plain(revision.slice(0, 7))}`}\n\n${lines.join('\n')}\n${hint}`;
}
