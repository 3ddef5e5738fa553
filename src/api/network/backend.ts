/** Ways in which packets reach pods of other machines, as flannel names them. All machines of a cluster have the same. */
export const networkBackends = ['vxlan', 'host-gw', 'wireguard'] as const;
export type NetworkBackend = (typeof networkBackends)[number];
