import { nodes } from '../api/core/v1/node.ts';
import type { Pod } from '../api/core/v1/pod.ts';
import type { InformerSet } from '../client/informer.ts';
import type { KubeletClient } from './http/kubelet-client.ts';

export interface LastLineOptions {
  readonly informers: InformerSet;
  readonly kubelet: KubeletClient;
}

const maxBytes = 1_024;
/** A line of a log is a hint, and not worth a long wait. */
const timeoutMs = 5_000;

/** Makes a function that asks the agent of the pod's node for the last line of a container's newest run. The line is cut after 1 KiB. */
export function createLastLineReader({ informers, kubelet }: LastLineOptions): (pod: Pod, container: string) => Promise<string> {
  const machines = informers.get(nodes);
  return async ({ metadata: { namespace = '', name }, spec }, container) => {
    const node = machines.get({ name: spec.nodeName ?? '' });
    if (node === undefined) throw new Error(`pod ${namespace}/${name} is on no node`);
    const path = `/containerLogs/${[namespace, name, container].map(encodeURIComponent).join('/')}?tailLines=1&limitBytes=${maxBytes}`;
    const answer = await kubelet.request(node, { path, signal: AbortSignal.timeout(timeoutMs) });
    let text = '';
    for await (const chunk of answer as AsyncIterable<Buffer>) if (text.length <= maxBytes) text += chunk.toString('utf8');
    if (answer.statusCode !== 200) throw new Error(text);
    return text;
  };
}
