import { existsSync } from 'node:fs';
import { runningPods } from '../../node-agent/process/leftover-pods.ts';
import { filesOf } from '../configuration.ts';

/** `namespace/name` of the pods whose processes the records of a data directory name; none of a cluster that never had a node. */
export async function runningPodsOf(dataDirectory: string): Promise<readonly string[]> {
  const { pods } = filesOf(dataDirectory);
  return existsSync(pods) ? runningPods(pods) : [];
}
