import type { Pod } from '../api/core/v1/pod.ts';
import type { AgentContext } from './agent-context.ts';
import { readLog } from './container-log.ts';
import type { SandboxStatus } from './container-runtime.ts';
import { containerNamed } from './container-start.ts';

/** As much of the output as the kubelet takes for a termination message. */
const maxLines = 80;
const maxBytes = 2_048;

/**
 * Returns the messages of `FallbackToLogsOnError`, by container id: the end of the output of each container that failed and left no
 * message. Those in `known` are not read again; those of other containers are left out.
 */
export async function readFallbackMessages(
  { runtime, clock, signal }: AgentContext,
  { pod, sandbox, known }: { readonly pod: Pod; readonly sandbox: SandboxStatus; readonly known: ReadonlyMap<string, string> },
): Promise<ReadonlyMap<string, string>> {
  const messages = new Map<string, string>();
  for (const { id, name, state, exitCode, message } of sandbox.containers) {
    const before = known.get(id);
    if (before !== undefined) messages.set(id, before);
    if (before !== undefined || state !== 'exited' || exitCode === 0 || message !== undefined) continue;
    if (containerNamed(pod, name)?.terminationMessagePolicy !== 'FallbackToLogsOnError') continue;
    const log = runtime.logOf(id);
    if (log === undefined) continue;
    const chunks: Buffer[] = [];
    const options = { follow: false, tailLines: maxLines, since: undefined, timestamps: false, limitBytes: undefined };
    for await (const chunk of readLog({ log, options, isRunning: () => false, clock, signal })) {
      chunks.push(chunk);
      // The end alone counts.
      if (chunks.length > 2) chunks.shift();
    }
    messages.set(id, Buffer.concat(chunks).subarray(-maxBytes).toString('utf8'));
  }
  return messages;
}
