/** Ways in which packets reach pods of other machines, as flannel names them. All machines of a cluster have the same. */
export type NetworkBackend = 'host-gw' | 'vxlan';
