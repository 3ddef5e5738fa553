import { spawnSync } from 'node:child_process';

/** Whether an unmodified kubectl is installed; tests that need it are skipped otherwise. */
export const hasKubectl = spawnSync('kubectl', ['version', '--client']).status === 0;
