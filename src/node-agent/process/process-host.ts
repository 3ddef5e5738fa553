import { availableParallelism, homedir } from 'node:os';
import { dirname } from 'node:path';
import { createLimit } from '../../base/concurrency.ts';
import { bootId } from '../../base/process-identity.ts';
import {
  findTerminalTools,
  type HostLayout,
  type Isolation,
  isWithin,
  probeIsolation,
  readHostLayout,
  type TerminalTools,
} from './isolation.ts';

/** What the process runtimes of this machine share: found once, handed to each. */
export interface ProcessHost {
  readonly isolation: Isolation;
  readonly layout: HostLayout;
  readonly bootId: string;
  /** PATH of containers that set none. The running Node is on it. */
  readonly defaultPath: string;
  /** HOME of containers that set none. */
  readonly home: string;
  /** Absent when the programs that make terminals (util-linux, coreutils) were not found. */
  readonly terminal: TerminalTools | undefined;
  /** Runs `start` when fewer than two starts a processor are under way: more of them only take longer. */
  limitStarts<T>(start: () => Promise<T>): Promise<T>;
}

export interface ProcessHostOptions {
  /** `process.execPath` */
  readonly nodePath: string;
  /** PATH of the agent, to find the tools of util-linux. */
  readonly searchPath: string;
  /** Skips the probe: containers are plain host processes. */
  readonly plain?: boolean;
}

const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export async function openProcessHost({ nodePath, searchPath, plain = false }: ProcessHostOptions): Promise<ProcessHost> {
  const isolation: Isolation = plain ? { mode: 'plain', why: 'isolation is switched off' } : await probeIsolation(searchPath);
  const nodeDirectory = dirname(nodePath);
  const onPath = systemPath.split(':').some((directory) => isWithin(nodeDirectory, directory));
  return {
    isolation,
    layout: await readHostLayout(nodePath),
    bootId: await bootId(),
    terminal: await findTerminalTools(searchPath),
    defaultPath: onPath ? systemPath : `${nodeDirectory}:${systemPath}`,
    limitStarts: createLimit(2 * availableParallelism()),
    home: isolation.mode === 'namespaces' ? '/root' : homedir(),
  };
}
