import type { Lease } from '../../api/coordination/v1/lease.ts';
import type { ConfigMap } from '../../api/core/v1/config-map.ts';
import type { Namespace } from '../../api/core/v1/namespace.ts';
import type { Node } from '../../api/core/v1/node.ts';
import type { Secret } from '../../api/core/v1/secret.ts';
import type { Service } from '../../api/core/v1/service.ts';
import type { EndpointSlice } from '../../api/discovery/v1/endpoint-slice.ts';
import { labels } from '../../api/well-known.ts';
import { escapeLabel } from '../../base/series.ts';
import { conditionStatuses, createdAt, type Family, gauge, secondsOf } from './family.ts';

/** Labels of nodes that become labels of series; all others stay out, their values are without bound. */
const shownNodeLabels = [labels.midshipSimulated, labels.hostname, labels.zone] as const;

const text = (value: string | null | undefined): string => escapeLabel(value ?? '');

export const nodeFamilies: readonly Family<Node>[] = [
  gauge('kube_node_info', 'Information about a node.', (samples, { spec, status }) => {
    const info = status?.nodeInfo;
    const address = status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
    samples.add(
      1,
      `,kernel_version="${text(info?.kernelVersion)}",os_image="${text(info?.osImage)}",container_runtime_version="${text(info?.containerRuntimeVersion)}",kubelet_version="${text(info?.kubeletVersion)}",provider_id="${text(spec?.providerID)}",pod_cidr="${text(spec?.podCIDR)}",system_uuid="${text(info?.systemUUID)}",internal_ip="${text(address)}"`,
    );
  }),
  gauge('kube_node_created', 'When the node was created, in seconds since the epoch.', (samples, node) => samples.add(createdAt(node))),
  gauge('kube_node_labels', 'Labels of a node that are meant for dashboards.', (samples, { metadata }) => {
    const shown = shownNodeLabels.flatMap((name) => {
      const value = metadata.labels?.[name];
      return value === undefined ? [] : [`,label_${name.replace(/[^a-zA-Z0-9_]/g, '_')}="${text(value)}"`];
    });
    samples.add(1, shown.join(''));
  }),
  gauge('kube_node_role', 'Roles of a node.', (samples, { metadata }) => {
    for (const name of Object.keys(metadata.labels ?? {})) {
      if (name.startsWith(labels.nodeRolePrefix)) samples.add(1, `,role="${text(name.slice(labels.nodeRolePrefix.length))}"`);
    }
  }),
  gauge('kube_node_spec_unschedulable', '1 while the node is cordoned.', (samples, { spec }) =>
    samples.add(spec?.unschedulable === true ? 1 : 0),
  ),
  gauge('kube_node_spec_taint', 'Taints of a node.', (samples, { spec }) => {
    for (const { key, value, effect } of spec?.taints ?? [])
      samples.add(1, `,key="${text(key)}",value="${text(value)}",effect="${text(effect)}"`);
  }),
  gauge('kube_node_status_condition', 'Conditions of a node.', (samples, { status }) => {
    for (const { type, status: holds } of status?.conditions ?? [])
      samples.stateSet('status', conditionStatuses, holds.toLowerCase(), `,condition="${text(type)}"`);
  }),
  gauge('kube_node_status_capacity', 'Resources of a node.', (samples, { status }) => samples.amounts(status?.capacity)),
  gauge('kube_node_status_allocatable', 'Resources of a node that pods can have.', (samples, { status }) =>
    samples.amounts(status?.allocatable),
  ),
];

export const nodeLabels = ({ metadata }: Node): string => `node="${metadata.name}"`;

export const namespaceLabels = ({ metadata }: Namespace): string => `namespace="${metadata.name}"`;

export const namespaceFamilies: readonly Family<Namespace>[] = [
  gauge('kube_namespace_created', 'When the namespace was created, in seconds since the epoch.', (samples, namespace) =>
    samples.add(createdAt(namespace)),
  ),
  gauge('kube_namespace_status_phase', 'Phase of a namespace.', (samples, { status }) =>
    samples.stateSet('phase', ['Active', 'Terminating'], status?.phase),
  ),
];

export const serviceFamilies: readonly Family<Service>[] = [
  gauge('kube_service_info', 'Information about a service.', (samples, { metadata, spec }) =>
    samples.add(
      1,
      `,uid="${text(metadata.uid)}",cluster_ip="${text(spec.clusterIP)}",external_name="${text(spec.externalName)}",load_balancer_ip="${text(spec.loadBalancerIP)}"`,
    ),
  ),
  gauge('kube_service_created', 'When the service was created, in seconds since the epoch.', (samples, service) =>
    samples.add(createdAt(service)),
  ),
  gauge('kube_service_spec_type', 'Type of a service.', (samples, { metadata, spec }) =>
    samples.add(1, `,uid="${text(metadata.uid)}",type="${text(spec.type)}"`),
  ),
];

export const endpointSliceFamilies: readonly Family<EndpointSlice>[] = [
  gauge('kube_endpointslice_info', 'Information about an endpoint slice.', (samples, { addressType }) =>
    samples.add(1, `,addresstype="${text(addressType)}"`),
  ),
  gauge('kube_endpointslice_endpoints', 'Endpoints of a slice.', (samples, { endpoints }) => {
    for (const { addresses, conditions, targetRef, nodeName, hostname, zone } of endpoints ?? []) {
      const more = `,ready="${conditions?.ready ?? true}",serving="${conditions?.serving ?? ''}",terminating="${conditions?.terminating ?? ''}",hostname="${text(hostname)}",targetref_kind="${text(targetRef?.kind)}",targetref_name="${text(targetRef?.name)}",targetref_namespace="${text(targetRef?.namespace)}",nodename="${text(nodeName)}",endpoint_zone="${text(zone)}"`;
      for (const address of addresses) samples.add(1, `${more},address="${text(address)}"`);
    }
  }),
];

export const configMapFamilies: readonly Family<ConfigMap>[] = [
  gauge('kube_configmap_info', 'Config maps that exist.', (samples) => samples.add(1)),
];

/** Names and types; never a key or a value. */
export const secretFamilies: readonly Family<Secret>[] = [
  gauge('kube_secret_info', 'Secrets that exist.', (samples) => samples.add(1)),
  gauge('kube_secret_type', 'Type of a secret.', (samples, { type }) => samples.add(1, `,type="${text(type)}"`)),
];

export const leaseFamilies: readonly Family<Lease>[] = [
  gauge('kube_lease_owner', 'Owner of a lease.', (samples, { metadata, spec }) => {
    const owner = metadata.ownerReferences?.[0];
    samples.add(1, `,owner_kind="${text(owner?.kind)}",owner_name="${text(owner?.name)}",lease_holder="${text(spec?.holderIdentity)}"`);
  }),
  gauge('kube_lease_renew_time', 'When the lease was renewed, in seconds since the epoch.', (samples, { spec }) =>
    samples.add(secondsOf(spec?.renewTime)),
  ),
];
