import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { TestApiServer } from './api-server.ts';

/** True when an unmodified kubectl is installed; tests that need it are skipped otherwise. */
export const hasKubectl = spawnSync('kubectl', ['version', '--client']).status === 0;

export interface KubectlSteps {
  /** Runs kubectl, which must succeed; gives what it prints. */
  ok(...args: string[]): Promise<string>;
  /** Runs kubectl, which must fail; gives its errors. */
  refused(...args: string[]): Promise<string>;
  /** Writes a file beside the server's own and gives its path. */
  file(name: string, text: string): Promise<string>;
}

/** Steps of a test under an unmodified kubectl. `clusterOf` is asked at each step: the server starts after the suite is described. */
export function kubectlSteps(clusterOf: () => TestApiServer): KubectlSteps {
  return {
    async ok(...args) {
      const { code, stdout, stderr } = await clusterOf().kubectl(...args);
      expect({ args, code, stderr: code === 0 ? '' : stderr }).toEqual({ args, code: 0, stderr: '' });
      return stdout;
    },
    async refused(...args) {
      const { code, stderr } = await clusterOf().kubectl(...args);
      expect({ args, failed: code !== 0 }).toEqual({ args, failed: true });
      return stderr;
    },
    async file(name, text) {
      const path = join(clusterOf().directory, name);
      await writeFile(path, text);
      return path;
    },
  };
}
