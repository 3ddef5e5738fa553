import type { VNode } from 'preact';
import { renderToString } from 'preact-render-to-string';
import { plainLines } from '../../base/plain-text.ts';
import type { SourceModel } from '../page-model.ts';
import { Glyph, Now, Sha, type View, type Viewer } from './parts.tsx';

export interface DocumentOptions {
  readonly view: View;
  readonly viewer: Viewer;
  readonly source: SourceModel | undefined;
  readonly clusterName: string;
  readonly version: string;
  readonly now: number;
  /** Choice of the viewer; the system decides when absent. */
  readonly theme: 'light' | 'dark' | undefined;
  readonly assets: { readonly style: string; readonly mark: string; readonly script: string | undefined };
}

/** The whole page, complete without a script. */
export function renderDocument(options: DocumentOptions): string {
  const html = renderToString(
    <Now.Provider value={options.now}>
      <Document {...options} />
    </Now.Provider>,
  );
  return `<!doctype html>\n${plainLines(html)}\n`;
}

/** The regions of a view by id, as an open page gets them. */
export function renderRegions(view: View, source: SourceModel | undefined): ReadonlyMap<string, string> {
  return new Map([...view.regions, sourceRegion(source)].map(({ id, content }) => [id, plainLines(renderToString(content))]));
}

const sourceRegion = (source: SourceModel | undefined): { readonly id: string; readonly content: VNode } => ({
  id: 'source',
  content: <Source source={source} />,
});

function Document({ view, viewer, source, clusterName, version, theme, assets }: DocumentOptions): VNode {
  const regions = new Map(view.regions.map(({ id, content }) => [id, content]));
  return (
    <html lang="en" {...(theme === undefined ? {} : { 'data-theme': theme })}>
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>{titleOf(view, clusterName)}</title>
        <link rel="icon" href={assets.mark} type="image/svg+xml" />
        <link rel="stylesheet" href={assets.style} />
        {assets.script === undefined ? null : <script type="module" src={assets.script} />}
      </head>
      <body data-cluster={clusterName} {...(view.regions.length === 0 ? {} : { 'data-live': '' })}>
        <header class="bar">
          <a class="brand" href="/">
            <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
              <path d="M3 19V13C3 8 17 11 17 5V1" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" />
              <circle cx="10" cy="9.6" r="3" fill="currentColor" />
            </svg>
            midship <span class="quiet">/ {clusterName}</span>
          </a>
          <div id="source" class="source">
            <Source source={source} />
          </div>
          <a class="find" href="/find" id="find" title="Find a page, app, node or object (Ctrl K)">
            Find
          </a>
          {viewer.canLogIn ? (
            <a class="user" href="/login">
              {viewer.isUser ? viewer.name : 'Log in'}
            </a>
          ) : null}
          <button type="button" id="theme" class="script-only" aria-label="Change between light and dark">
            <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
              <circle cx="8" cy="8" r="6.5" fill="none" stroke="currentColor" stroke-width="1.5" />
              <path d="M8 1.5a6.5 6.5 0 0 1 0 13z" fill="currentColor" />
            </svg>
          </button>
        </header>
        <p id="connection" class="connection" role="status" hidden />
        <p id="announcement" class="hidden" role="status" aria-live="polite" />
        {view.layout((id) => (
          <div id={id}>{regions.get(id)}</div>
        ))}
        <footer>
          <details id="keys" class="script-only">
            <summary>Keys</summary>
            <ul>
              {keys.map(([key, does]) => (
                <li key={key}>
                  <kbd>{key}</kbd> {does}
                </li>
              ))}
            </ul>
          </details>
          <p>
            midship {version}: <a href="/objects">objects</a> <a href="/events">events</a> <a href="/status.json">status.json</a>{' '}
            <a href="/metrics">metrics</a>
          </p>
        </footer>
      </body>
    </html>
  );
}

const keys = [
  ['Ctrl K', 'find a page, app, node or object'],
  ['/', 'filter this list, or find'],
  ['j', 'next row'],
  ['k', 'row before'],
  ['Enter', 'open the row'],
  ['Esc', 'back'],
  ['g a', 'apps'],
  ['g o', 'objects'],
  ['g e', 'events'],
  ['g n', 'nodes'],
  ['h', 'history of the app'],
  ['l', 'logs of the app'],
  ['e', 'events of the app'],
  ['t', 'light or dark'],
  ['?', 'these keys'],
] as const;

export const titleOf = (view: View, clusterName: string): string => `${view.title} midship / ${clusterName}`;

function Source({ source }: { readonly source: SourceModel | undefined }): VNode {
  if (source === undefined) return <span class="quiet">no repository yet</span>;
  const state = source.problem === '' ? (source.revision === '' ? 'progressing' : 'ok') : 'failed';
  return (
    <span title={source.problem}>
      <Glyph state={state} /> {source.branch === '' ? '' : `${source.branch} @ `}
      {source.revision === '' ? 'not read yet' : <Sha sha={source.revision} />}
      {source.problem === '' ? null : <span class="problem"> cannot be read</span>}
    </span>
  );
}
