import { shellWord } from '../base/shell-word.ts';
import { type Configuration, filesOf } from './configuration.ts';
import type { Endpoints } from './data-directory.ts';

export interface AddressesOptions {
  readonly endpoints: Endpoints;
  readonly configuration: Pick<Configuration, 'dataDirectory' | 'repository' | 'seedDirectory' | 'disabled' | 'machines'>;
  /** Path behind the address of the page; where it asks for a login, one that logs in once. */
  readonly pagePath: string;
  /** Secrets go to a terminal only: anything else may be a journal, which keeps them for whoever reads it later. */
  readonly isTerminal: boolean;
}

/** Shows the addresses of page, API and Git remote to the person who started the cluster. */
export function formatAddresses({ endpoints, configuration, pagePath, isTerminal }: AddressesOptions): string {
  const lines = [
    `  Status page    ${pageAddress(endpoints, isTerminal ? pagePath : undefined)}`,
    `  kubectl        export KUBECONFIG=${shellWord(endpoints.kubeconfig)}`,
  ];
  if (isPushFollowed(configuration)) lines.push(`  Push to        ${pushAddress(endpoints, isTerminal)}`);
  const { machines, dataDirectory } = configuration;
  if (machines !== undefined) {
    const { port } = new URL(endpoints.api);
    lines.push(`  Join by        midship agent --server https://${machines.nodeAddress}:${port} --token-file FILE`);
    lines.push(`                 FILE is a copy of ${filesOf(dataDirectory).joinToken}`);
  }
  if (endpoints.httpCaFile !== undefined) lines.push(`  Certificate    of the cluster's authority, ${endpoints.httpCaFile}`);
  return `\n${lines.join('\n')}\n`;
}

/** The commands to try with the examples. */
export function formatTour(endpoints: Endpoints, isTerminal: boolean): string {
  return [
    '  Try this in a second terminal:',
    `    git clone ${trustOption(endpoints)}${isTerminal ? gitAddress(endpoints).href : '"$(midship git-url)"'} demo && cd demo`,
    "    sed -i 's/replicas: 3/replicas: 5/' apps/storefront/deployment.yaml",
    '    git commit -am "storefront: 5 replicas" && git push      # watch this terminal',
    '    git revert --no-edit HEAD && git push                    # and back',
    '',
  ].join('\n');
}

/** @param path  behind the address; undefined when it may not be shown */
export function pageAddress({ page, http, pageTokenFile }: Endpoints, path: string | undefined): string {
  if (path !== undefined) return `${page ?? http}${path}`;
  return `${page ?? http}${pageTokenFile === undefined ? '' : '   (log in by: midship page-url)'}`;
}

/** A push to the built-in remote changes nothing while the cluster follows another repository. */
const isPushFollowed = ({ repository, seedDirectory, disabled }: AddressesOptions['configuration']): boolean =>
  repository === undefined && seedDirectory === undefined && disabled?.includes('gitops') !== true;

function pushAddress(endpoints: Endpoints, isTerminal: boolean): string {
  const git = gitAddress(endpoints);
  const trust = endpoints.httpCaFile === undefined ? '' : `   (git clone ${trustOption(endpoints).trim()})`;
  if (isTerminal) return `${git.href}${trust}`;
  git.username = '';
  git.password = '';
  return `${git.href}   (with its token: midship git-url)${trust}`;
}

/** The option by which `git clone` trusts the server; the clone keeps it for the pushes. */
const trustOption = ({ httpCaFile }: Endpoints): string => (httpCaFile === undefined ? '' : `-c http.sslCAInfo=${shellWord(httpCaFile)} `);

/** Gives the address of the built-in remote, by the name that other machines know too. */
function gitAddress({ git, page }: Endpoints): URL {
  const url = new URL(git);
  if (page !== undefined) url.hostname = new URL(page).hostname;
  return url;
}
