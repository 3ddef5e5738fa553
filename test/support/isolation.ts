import { openProcessHost } from '../../src/node-agent/process/process-host.ts';

const host = await openProcessHost({ nodePath: process.execPath, searchPath: process.env.PATH ?? '' });

/**
 * True when containers have a file system of their own here. Without user namespaces no pod that mounts a volume runs.
 */
export const hasNamespaces = host.isolation.mode === 'namespaces';
/** True when the programs that make terminals are installed. */
export const hasTerminals = host.terminal !== undefined;
