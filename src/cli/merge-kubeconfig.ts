import { readFile, realpath } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { makeDurableDirectory, writeDurableFile } from '../base/durable-file.ts';
import { formatYaml, parseYamlDocuments } from '../machinery/yaml.ts';
import { filesOf } from './configuration.ts';
import { type ExitCode, Failure } from './failure.ts';
import { dataDirectoryExtension } from './find-cluster.ts';
import { readOwnKubeconfig } from './kubeconfig.ts';

export interface MergeOptions {
  readonly dataDirectory: string;
  readonly environment: NodeJS.ProcessEnv;
  /** Name of cluster, user and context in the file. */
  readonly name: string;
  readonly output: NodeJS.WritableStream;
}

interface Entry {
  readonly name?: unknown;
  readonly [field: string]: unknown;
}

type Config = Readonly<Record<string, unknown>>;

const limits = { maxBytes: 1024 * 1024, maxDepth: 20, maxAliases: 20, maxDocuments: 1 };

/**
 * Puts the cluster into the file that kubectl reads, `KUBECONFIG` or `~/.kube/config`, and makes it the current context. Everything else of
 * the file stays, without its comments; the former file is kept beside it with the ending `.bak`.
 */
export async function mergeKubeconfig({ dataDirectory, environment, name, output }: MergeOptions): Promise<ExitCode> {
  const [first = join(environment.HOME ?? homedir(), '.kube', 'config')] = (environment.KUBECONFIG ?? '').split(delimiter).filter(Boolean);
  // A link goes on to name the file.
  const path = await realpath(first).catch(() => resolve(first));
  if (path === resolve(filesOf(dataDirectory).kubeconfig)) {
    throw new Failure(`KUBECONFIG is ${path} already`, {
      why: 'That is the kubeconfig of the cluster itself.',
      fix: 'Unset KUBECONFIG to merge into ~/.kube/config, or name another file with it.',
    });
  }
  const own = parse(await readOwnKubeconfig(dataDirectory), filesOf(dataDirectory).kubeconfig);
  const text = await readFile(path, 'utf8').catch((err: NodeJS.ErrnoException) => {
    if (err.code !== 'ENOENT') throw err;
    return undefined;
  });
  const former = text === undefined ? {} : parse(text, path);
  refuseForeign(former, name, { dataDirectory, path });
  await makeDurableDirectory(dirname(path));
  if (text !== undefined) await writeDurableFile(`${path}.bak`, text);
  const merged = {
    apiVersion: 'v1',
    kind: 'Config',
    ...former,
    clusters: withEntry(former, own, { list: 'clusters', name }),
    users: withEntry(former, own, { list: 'users', name }),
    contexts: withEntry(former, { contexts: [{ context: { cluster: name, user: name } }] }, { list: 'contexts', name }),
    'current-context': name,
  };
  await writeDurableFile(path, formatYaml(merged));
  output.write(`${path}: context ${name}${text === undefined ? '' : `; the former file is ${path}.bak`}\n`);
  return 0;
}

function parse(text: string, path: string): Config {
  try {
    const value = parseYamlDocuments(text, limits)[0]?.value ?? {};
    if (typeof value === 'object' && !Array.isArray(value)) return value as Config;
    throw new Error('it is not a mapping');
  } catch (cause) {
    throw new Failure(`${path} is not a kubeconfig`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Correct it, or name another file with KUBECONFIG. Nothing was changed.',
      cause,
    });
  }
}

const entriesOf = (config: Config, list: string): readonly Entry[] => {
  const entries = config[list];
  return Array.isArray(entries) ? (entries as readonly Entry[]) : [];
};

/** The entries of `former`, with the one of `own` under `name` in its place or at the end. */
function withEntry(former: Config, own: Config, { list, name }: { readonly list: string; readonly name: string }): readonly Entry[] {
  const entry = { ...entriesOf(own, list)[0], name };
  const entries = entriesOf(former, list);
  return entries.some((each) => each.name === name) ? entries.map((each) => (each.name === name ? entry : each)) : [...entries, entry];
}

/** An entry of that name that is of another cluster would be lost. */
function refuseForeign(
  former: Config,
  name: string,
  { dataDirectory, path }: { readonly dataDirectory: string; readonly path: string },
): void {
  const taken = ['clusters', 'users', 'contexts'].some((list) => entriesOf(former, list).some((each) => each.name === name));
  if (!taken) return;
  const cluster = entriesOf(former, 'clusters').find((each) => each.name === name)?.cluster as
    | { readonly extensions?: readonly { readonly name?: unknown; readonly extension?: { readonly path?: unknown } }[] }
    | undefined;
  const extension = cluster?.extensions?.find((each) => each.name === dataDirectoryExtension)?.extension;
  if (extension?.path === resolve(dataDirectory)) return;
  throw new Failure(`${path} has an entry ${name} already`, {
    why: 'It is of another cluster, and would be lost.',
    fix: 'Give this one another name: midship kubeconfig --merge --name NAME',
  });
}
