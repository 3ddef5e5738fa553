import type { VNode } from 'preact';
import { renderToString } from 'preact-render-to-string';
import type { Overview } from '../base/overview.ts';

export interface PageData {
  readonly overview: Overview;
  readonly clusterName: string;
  readonly version: string;
}

export const renderPage = (data: PageData): string => `<!doctype html>\n${renderToString(<Page {...data} />)}\n`;

function Page({ overview, clusterName, version }: PageData): VNode {
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>{`${overview.verdict} midship / ${clusterName}`}</title>
      </head>
      <body>
        <h1>{overview.verdict}</h1>
        <h2>Apps</h2>
        <ul>
          {overview.apps.map(({ name, namespace, sync, health, reason }) => (
            <li key={`${namespace}/${name}`}>
              {name} {namespace} {sync} {health} {reason}
            </li>
          ))}
        </ul>
        <h2>Nodes</h2>
        <ul>
          {overview.nodes.map(({ name, ready, simulated }) => (
            <li key={name}>
              {name} {ready ? 'Ready' : 'Not ready'} {simulated ? 'simulated' : ''}
            </li>
          ))}
        </ul>
        <footer>midship {version}</footer>
      </body>
    </html>
  );
}
