import type { Pod } from '../api/core/v1/pod.ts';
import type { AgentContext } from './agent-context.ts';
import { recordPodEvent } from './pod-events.ts';

/** Programs of this node share its network: one that listens everywhere takes the port from all others, and its pod's address lies. */
export async function warnOfOpenListeners(context: AgentContext, pod: Pod, podIP: string | undefined): Promise<void> {
  if (pod.spec.hostNetwork === true) return;
  try {
    const listeners = await context.runtime.listeners(pod.metadata.uid ?? '');
    const open = listeners.find(({ address }) => address === '0.0.0.0' || address === '::');
    if (open === undefined) return;
    const place = `${open.address === '::' ? '[::]' : open.address}:${open.port}`;
    const message = `A program of this pod listens on ${place}; pods of this node share its network, so it must listen on the address in POD_IP (${podIP})`;
    recordPodEvent(context, pod, { type: 'Warning', reason: 'ListensOnAllAddresses', message });
  } catch (err) {
    context.log.warn({ err, pod: `${pod.metadata.namespace}/${pod.metadata.name}` }, 'Could not look at the addresses a pod listens on');
  }
}
