import pc from 'picocolors';
import { nameOfApp } from '../api/kustomize/v1/app-name.ts';
import type { AppOverview, Overview } from '../base/overview.ts';
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
  return failOnDifference && document.apps.some((app) => !isGood(app)) ? 1 : 0;
}

const isGood = ({ sync, health }: AppOverview): boolean => sync === 'Synced' && health === 'Healthy';

/** State is a shape and a word, never a colour alone. */
function wordsOf({ sync, health, pinned }: AppOverview): { readonly glyph: string; readonly word: string } {
  if (health === 'Suspended') return { glyph: pc.magenta('■'), word: 'Suspended' };
  if (sync === 'Failed') return { glyph: pc.red('▲'), word: 'Failed' };
  if (health === 'Degraded' || health === 'Missing') return { glyph: pc.red('▲'), word: health };
  if (health === 'NoController') return { glyph: pc.yellow('◆'), word: 'No controller' };
  if (pinned !== '') return { glyph: pc.magenta('■'), word: 'Pinned' };
  if (sync === 'OutOfSync') return { glyph: pc.yellow('◆'), word: 'Out of sync' };
  if (sync === 'Progressing' || health === 'Progressing') return { glyph: pc.blue('◔'), word: 'Rolling out' };
  if (isGood({ sync, health } as AppOverview)) return { glyph: pc.green('●'), word: 'In sync' };
  return { glyph: '○', word: 'Unknown' };
}

/** One line an app: of many errors the first, and how many more `why` has. */
function shortened(reason: string): string {
  const [first = '', ...more] = reason.split('\n');
  return more.length === 0 ? first : `${first} (and ${more.length} more)`;
}

function formatStatus({ verdict, revision, apps }: Overview): string {
  const rows = apps.map((app) => {
    const { glyph, word } = wordsOf(app);
    return { glyph, cells: [app.name, app.namespace, word, app.revision.slice(-40).slice(0, 7)], reason: app.reason };
  });
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map(({ cells }) => (cells[column] ?? '').length)));
  const lines = rows.map(({ glyph, cells, reason }) =>
    `  ${glyph} ${cells.map((cell, column) => plain(cell).padEnd(widths[column] ?? 0)).join('  ')}  ${plain(shortened(reason))}`.trimEnd(),
  );
  const bad = apps.find((app) => !isGood(app));
  const name = bad === undefined ? '' : nameOfApp(bad);
  const hint = bad === undefined ? '' : `\n  why:    midship why ${name}        undo:   midship revert ${name}\n`;
  return `${plain(verdict)}${revision === '' ? '' : `   main @ ${plain(revision.slice(0, 7))}`}\n\n${lines.join('\n')}\n${hint}`;
}
