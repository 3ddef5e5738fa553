import { openProcessHost } from '../../src/node-agent/process/process-host.ts';

const host = await openProcessHost({ nodePath: process.execPath, searchPath: process.env.PATH ?? '' });

/** Whether containers have a file system of their own here. Where user namespaces are not allowed, no pod that mounts a volume runs. */
export const hasNamespaces = host.isolation.mode === 'namespaces';
/** Whether the programs that make terminals are installed. */
export const hasTerminals = host.terminal !== undefined;
