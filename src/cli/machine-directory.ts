import { resolve } from 'node:path';

/** The data directory of `server` and `agent`, which belong to a machine and not to a folder of work. */
export const machineDirectory = '/var/lib/midship';

export const defaultMachineDirectory = (environment: NodeJS.ProcessEnv): string =>
  resolve(environment.MIDSHIP_DATA_DIR || machineDirectory);
