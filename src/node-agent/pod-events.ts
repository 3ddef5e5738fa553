import type { Container, Pod } from '../api/core/v1/pod.ts';
import type { AgentContext } from './agent-context.ts';
import { fieldPathOf } from './container-start.ts';

export interface PodEvent {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
  /** The container that the Event is about. */
  readonly container?: Container | undefined;
}

/** Writes an Event about a pod or a container of it. A runtime that only pretends writes none. */
export function recordPodEvent({ runtime, recorder }: AgentContext, pod: Pod, { container, ...event }: PodEvent): void {
  if (!runtime.runsPrograms) return;
  recorder.record(pod, { ...event, ...(container === undefined ? {} : { fieldPath: fieldPathOf(pod, container.name) }) });
}
