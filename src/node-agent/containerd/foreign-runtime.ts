import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { podNetworkFile } from './cni-config.ts';
import { ContainerdError, type ContainerdService, importPinned, refuseOld, tryFindProgram } from './containerd-service.ts';
import { type CriClient, createCriClient } from './cri-client.ts';

export interface ForeignRuntimeOptions {
  /** Its socket for the Container Runtime Interface. */
  readonly socketPath: string;
  /** PATH to find `ctr` on, which loads archives of images. */
  readonly searchPath: string;
  readonly clock: Clock;
}

/** The part of the configuration that containerd shows which matters here. CRI-O shows another one. */
interface ShownConfiguration {
  readonly cni?: { readonly confDir?: string };
  readonly containerd?: {
    readonly defaultRuntimeName?: string;
    readonly runtimes?: Readonly<Record<string, { readonly options?: { readonly SystemdCgroup?: boolean } }>>;
  };
}

const usualCniDirectory = '/etc/cni/net.d';

/**
 * Uses a container runtime that someone else on this machine runs. Its pause image, registries and handlers are its own business. The
 * network of pods is the agent's, so it must have none of its own.
 *
 * @throws ContainerdError when it does not answer, or is set up in a way that the agent cannot use
 */
export async function openForeignRuntime({ socketPath, searchPath, clock }: ForeignRuntimeOptions): Promise<ContainerdService> {
  const client = createCriClient({ socketPath, clock });
  try {
    const shown = await configurationOf(client, socketPath);
    const { runtimeName, runtimeVersion } = await client.version();
    if (runtimeName === 'containerd') refuseOld(runtimeVersion, socketPath);
    const { defaultRuntimeName = 'runc', runtimes = {} } = shown.containerd ?? {};
    if (runtimes[defaultRuntimeName]?.options?.SystemdCgroup === true) {
      throw new ContainerdError(
        `The container runtime at ${socketPath} has systemd make its control groups.`,
        'Set SystemdCgroup = false in its configuration, and start it again.',
      );
    }
    const cniDirectory = shown.cni?.confDir ?? usualCniDirectory;
    await refuseOtherNetwork(cniDirectory);
    await mkdir(cniDirectory, { recursive: true });
    const program = await tryFindProgram('ctr', searchPath);
    return {
      socketPath,
      ctr: program === undefined ? undefined : { ctr: program, socketPath },
      cniDirectory,
      async importImage(path) {
        if (program === undefined)
          throw new ContainerdError(`${path} needs the program ctr, which is not on PATH.`, 'Load the image into the runtime yourself.');
        await importPinned({ ctr: program, socketPath }, path);
      },
      stop: async () => undefined,
    };
  } finally {
    client.close();
  }
}

async function configurationOf(client: CriClient, socketPath: string): Promise<ShownConfiguration> {
  try {
    return JSON.parse(await client.shownConfiguration()) as ShownConfiguration;
  } catch (err) {
    // Another runtime than containerd shows another format.
    if (err instanceof SyntaxError) return {};
    const why = err instanceof Error ? err.message : String(err);
    throw new ContainerdError(
      `No container runtime answers at ${socketPath}: ${why}.`,
      /\bE(?:ACCES|PERM)\b/.test(why)
        ? `Start as a user that may open ${socketPath}, such as root.`
        : 'Start it, or leave --container-runtime-endpoint out: Midship then starts a containerd of its own.',
      { cause: err },
    );
  }
}

/** The runtime takes the first configuration by name. Pods of another network would get addresses that no other machine knows. */
async function refuseOtherNetwork(directory: string): Promise<void> {
  const names = await readdir(directory).catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return [];
    throw err;
  });
  const other = names.find((name) => name !== podNetworkFile && /\.(?:conf|conflist|json)$/.test(name));
  if (other === undefined) return;
  throw new ContainerdError(
    `The container runtime gives pods a network of its own, by ${join(directory, other)}.`,
    'Remove that file, or leave --container-runtime-endpoint out.',
  );
}
