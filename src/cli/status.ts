import { setTimeout as delay } from 'node:timers/promises';
import pc from 'picocolors';
import { nameOfApp } from '../api/kustomize/v1/app-name.ts';
import { appStateNames, appStates, isMatch, type Shape } from '../base/contracts/app-states.ts';
import type { GitOpsOverview, Overview, PodCount } from '../base/contracts/overview.ts';
import { nearest } from '../base/nearest.ts';
import { plain } from '../base/plain-text.ts';
import { readEndpoints } from './data-directory.ts';
import { type ExitCode, Failure } from './failure.ts';
import type { Format } from './format.ts';
import { ageText, cutTo, wrapText, writeResult } from './output.ts';
import { requestPage } from './page-request.ts';

export interface StatusOptions {
  readonly dataDirectory: string;
  /** `APP` or `NAMESPACE/APP`; all when undefined. */
  readonly app?: string | undefined;
  /** Only apps of this namespace. */
  readonly namespace?: string | undefined;
  /** Goes on, with each change, until the signal. */
  readonly watch?: AbortSignal | undefined;
  readonly format: Format;
  /** Exit with 1 when the cluster is not what Git says. */
  readonly failOnDifference: boolean;
  readonly output: NodeJS.WritableStream;
}

/** Between two looks of a watch. */
const periodMs = 1_000;

/** The verdict as text, one line an app; `git status` for the cluster. */
export async function status(options: StatusOptions): Promise<ExitCode> {
  const { dataDirectory, failOnDifference, watch } = options;
  let shown = '';
  for (;;) {
    const endpoints = await readEndpoints(dataDirectory);
    // Values of fields that differ are for the owner alone.
    const tokenFile = endpoints.pageOwnerTokenFile ?? endpoints.pageTokenFile;
    const overview = await requestPage<Overview>(endpoints, '/status.json', { tokenFile });
    const document = selected(overview, options);
    const text = JSON.stringify(document);
    if (text !== shown) await writeResult(options, document, (shownDocument) => formatStatus(shownDocument, Date.now()));
    shown = text;
    const matches =
      options.app === undefined && options.namespace === undefined ? document.matches : document.apps.every(({ state }) => isMatch(state));
    if (watch === undefined) return failOnDifference && !matches ? 1 : 0;
    await delay(periodMs, undefined, { signal: watch }).catch(() => undefined);
    if (watch.aborted) return 130;
  }
}

/** The overview with the apps that were asked for. @throws Failure when there is no such app */
function selected(overview: Overview, { app, namespace }: StatusOptions): Overview {
  if (app === undefined && namespace === undefined) return overview;
  const apps = overview.apps.filter(
    (each) =>
      (namespace === undefined || each.namespace === namespace) &&
      (app === undefined || [each.name, `${each.namespace}/${each.name}`].includes(app)),
  );
  if (app === undefined || apps.length > 0) return { ...overview, apps };
  const names = overview.apps.map(({ name }) => name);
  const meant = nearest(app, names);
  throw new Failure(`no app ${app}${namespace === undefined ? '' : ` in namespace ${namespace}`}`, {
    why: names.length === 0 ? 'There are no apps.' : `Apps there: ${names.slice(0, 20).join(', ')}.`,
    fix: `${meant === undefined ? '' : `Did you mean ${meant}? `}See: midship get apps`,
  });
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

/** The namespace that an app deploys to, and how many more. */
const targetText = ([first = '-', ...more]: readonly string[] = []): string => (more.length === 0 ? first : `${first} +${more.length}`);

/** `2/3`: ready of wanted pods, as kubectl shows them. An older server counts none. */
const podsText = (pods: PodCount | undefined): string => (pods === undefined ? '-' : `${pods.ready}/${pods.wanted}`);

/** Names the one of several servers that GitOps runs on. */
function leaderText({ leader, here, page }: GitOpsOverview): string {
  if (here) return 'this server leads';
  if (leader === '') return 'no server leads now; commits are not applied until one does';
  return page === '' ? `${plain(leader)} leads` : `${plain(leader)} leads, with the commits on ${plain(page)}`;
}

function formatStatus({ verdict, revision, branch, apps, gitops }: Overview, now: number): string {
  const rows = apps.map((app) => {
    const { shape, word } = appStates[app.state];
    const notes = app.reason === '' && app.notes.length > 0 ? app.notes.join('\n') : app.reason;
    return {
      glyph: glyphs[shape],
      cells: [
        nameOfApp(app),
        targetText(app.targets),
        word,
        podsText(app.pods),
        app.revision.slice(-40).slice(0, 7),
        ageText(app.since, now),
      ],
      reason: notes,
    };
  });
  const widths = [0, 1, 2, 3, 4, 5].map((column) => Math.max(0, ...rows.map(({ cells }) => (cells[column] ?? '').length)));
  const lines = rows.map(({ glyph, cells, reason }) =>
    `  ${glyph} ${cells.map((cell, column) => plain(cell).padEnd(widths[column] ?? 0)).join('  ')}  ${plain(shortened(reason))}`.trimEnd(),
  );
  const worst = appStateNames.find((name) => !isMatch(name) && apps.some(({ state }) => state === name));
  const bad = apps.find(({ state }) => state === worst);
  const undo = bad?.cause === undefined ? '' : `        undo:   midship revert ${nameOfApp(bad)}`;
  const hint = bad === undefined ? '' : `\n  why:    midship why ${nameOfApp(bad)}${undo}\n`;
  const at = revision === '' ? '' : `   ${branch === '' ? '' : `${plain(branch)} @ `}${plain(revision.slice(0, 7))}`;
  const leader = gitops === undefined ? '' : `\n  gitops: ${leaderText(gitops)}\n`;
  return `${wrapText(plain(verdict))}${at}\n\n${lines.map((line) => `${cutTo(line)}\n`).join('')}${hint}${leader}`;
}
