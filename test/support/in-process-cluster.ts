import { pino } from 'pino';
import { type Cluster, startCluster } from '../../src/cli/compose/cluster.ts';
import type { Configuration } from '../../src/cli/configuration.ts';
import { ensureDataDirectory } from '../../src/cli/data-directory.ts';

export interface InProcessCluster {
  readonly cluster: Cluster;
  /** Lines of the log from `warn` on, as JSON. */
  readonly log: readonly string[];
  /** Warnings for the terminal. */
  readonly warnings: readonly string[];
}

/** The whole control plane, as `midship up` starts it, in this process: one simulated node, free ports. */
export async function startInProcess(dataDirectory: string, overrides: Partial<Configuration> = {}): Promise<InProcessCluster> {
  const log: string[] = [];
  const warnings: string[] = [];
  await ensureDataDirectory(dataDirectory);
  const cluster = await startCluster({
    configuration: {
      dataDirectory,
      bindAddress: '127.0.0.1',
      apiPort: 0,
      httpAddress: '127.0.0.1',
      httpPort: 0,
      requireLogin: false,
      simulatedNodes: 1,
      runtime: 'simulated',
      pods: { allowedHostPaths: [], insecurePlainPods: false, securityDefault: 'privileged' },
      preReceive: 'off',
      tlsNames: [],
      kubeconfigMode: 0o600,
      logLevel: 'warn',
      ...overrides,
    },
    log: pino({ level: 'warn' }, { write: (line) => void log.push(line) }),
    version: '0',
    signal: AbortSignal.timeout(60_000),
    onStep: () => undefined,
    onWarning: (text) => void warnings.push(text),
  });
  return { cluster, log, warnings };
}
