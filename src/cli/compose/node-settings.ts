/** Real nodes of `up` and `demo`. */
export const realNodes = ['node-a', 'node-b'] as const;
/** Port of the kubelet API on each node's address, as everywhere. */
export const kubeletPort = 10_250;
/** Time that pods have to end when the cluster is stopped. */
export const maxStopGraceMs = 20_000;
