import { readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { filesOf } from './configuration.ts';
import { machineDirectory } from './machine-directory.ts';

export interface FindOptions {
  readonly environment: NodeJS.ProcessEnv;
  /** Directory at which the search begins; absolute. */
  readonly from: string;
  /** Data directory of a server of this machine. */
  readonly machine?: string;
}

/**
 * The data directory of the cluster that is meant: `MIDSHIP_DATA_DIR`, or the nearest `.midship` from `from` upwards. Next come the
 * cluster of the kubeconfig that kubectl would use, and the server of this machine. Without any it is `.midship` in `from`, which may
 * not exist. A server of root is found by every user, who may not be able to read it.
 */
export async function findDataDirectory({ environment, from, machine = machineDirectory }: FindOptions): Promise<string> {
  if (environment.MIDSHIP_DATA_DIR) return resolve(from, environment.MIDSHIP_DATA_DIR);
  for (let at = from; ; at = dirname(at)) {
    const candidate = join(at, '.midship');
    if (await isOwnCluster(candidate)) return candidate;
    if (dirname(at) === at) break;
  }
  const found = await directoryOfKubeconfig(environment);
  if (found !== undefined) return found;
  return (await isOwnCluster(machine)) || (await isClosed(machine)) ? machine : join(from, '.midship');
}

/** The process that it names is signalled and asked, so one that another user has put above us does not count. */
async function isOwnCluster(directory: string): Promise<boolean> {
  const { network, database } = filesOf(directory);
  for (const path of [network, database]) {
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined) return found.uid === process.getuid?.();
  }
  return false;
}

const isClosed = (directory: string): Promise<boolean> =>
  stat(filesOf(directory).network).then(
    () => false,
    (err: NodeJS.ErrnoException) => err.code === 'EACCES',
  );

/** Name of the extension of a kubeconfig's cluster that has the data directory. */
export const dataDirectoryExtension = 'midship.dev/data-directory';

const maxKubeconfigBytes = 1024 * 1024;

interface Kubeconfig {
  readonly 'current-context'?: unknown;
  readonly contexts?: readonly { readonly name?: unknown; readonly context?: { readonly cluster?: unknown } }[];
  readonly clusters?: readonly {
    readonly name?: unknown;
    readonly cluster?: { readonly extensions?: readonly { readonly name?: unknown; readonly extension?: { readonly path?: unknown } }[] };
  }[];
}

async function directoryOfKubeconfig({ KUBECONFIG, HOME }: NodeJS.ProcessEnv): Promise<string | undefined> {
  const paths = KUBECONFIG ? KUBECONFIG.split(delimiter) : [join(HOME ?? homedir(), '.kube', 'config')];
  for (const path of paths.filter((each) => each !== '')) {
    const text = await readFile(path, 'utf8').catch(() => '');
    // Most kubeconfigs are of other clusters: reading them is spared.
    if (text.length > maxKubeconfigBytes || !text.includes(dataDirectoryExtension)) continue;
    const directory = await currentDirectory(text);
    if (directory !== undefined && (await isOwnCluster(directory))) return directory;
  }
  return undefined;
}

async function currentDirectory(text: string): Promise<string | undefined> {
  const { parseYamlDocuments } = await import('../machinery/yaml.ts');
  let config: Kubeconfig;
  try {
    config = (parseYamlDocuments(text, { maxBytes: maxKubeconfigBytes, maxDepth: 20, maxAliases: 20, maxDocuments: 1 })[0]?.value ??
      {}) as Kubeconfig;
  } catch {
    // A kubeconfig that nobody can read names no cluster of ours.
    return undefined;
  }
  const { cluster: name } = config.contexts?.find((each) => each.name === config['current-context'])?.context ?? {};
  const { extensions } = config.clusters?.find((each) => each.name === name)?.cluster ?? {};
  const path = extensions?.find((each) => each.name === dataDirectoryExtension)?.extension?.path;
  return typeof path === 'string' ? path : undefined;
}
