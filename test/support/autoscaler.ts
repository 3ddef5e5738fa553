import { horizontalPodAutoscalers } from '../../src/api/autoscaling/v2/horizontal-pod-autoscaler.ts';
import type { Client } from '../../src/client/client.ts';
import type { ObjectRef } from '../../src/machinery/object.ts';

/** Writes what the controller of autoscalers says of one that has scaled: that it can act, or why it cannot for now. */
export async function setAble(
  client: Client,
  ref: ObjectRef,
  { active = true, reason = 'ValidMetricFound' }: { readonly active?: boolean; readonly reason?: string } = {},
): Promise<void> {
  const at = '2026-01-01T00:00:00Z';
  const conditions = [
    { type: 'AbleToScale', status: 'True', reason: 'SucceededRescale', message: '', lastTransitionTime: at },
    { type: 'ScalingActive', status: active ? 'True' : 'False', reason, message: '', lastTransitionTime: at },
  ];
  const status = { currentReplicas: 1, desiredReplicas: 1, lastScaleTime: at, conditions };
  const write = { fieldManager: 'kube-controller-manager', subresource: 'status' } as const;
  await client.patch(horizontalPodAutoscalers, ref, { type: 'merge', body: { status } }, write);
}
