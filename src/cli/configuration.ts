import { join, resolve } from 'node:path';
import type { Taint } from '../api/core/v1/node.ts';
import type { EvictionSettings } from '../api/eviction-settings.ts';
import type { NetworkBackend } from '../api/network/backend.ts';
import type { MemoryBudget } from '../base/memory-budget.ts';
import type { BuildTools } from '../gitops/render/tools.ts';
import type { AddressPool } from '../machinery/address-pool.ts';
import type { AdmissionPlugin, OidcSettings } from './access-flags.ts';
import type { MachinesNetwork } from './data-directory.ts';
import type { PodSettings } from './pod-flags.ts';
import type { ServerToken } from './server-token.ts';
import type { EtcdAddress } from './store-address.ts';

/** The request of `up` and `demo`: flags over environment (`MIDSHIP_*`) over defaults, with units in the names. */
export interface Configuration {
  readonly dataDirectory: string;
  readonly bindAddress: string;
  /** 0: any free port. */
  readonly apiPort: number;
  /** The address of page, metrics, webhooks and Git remote. */
  readonly httpAddress: string;
  readonly httpPort: number;
  /** The page and the metrics ask for a login on loopback, too. */
  readonly requireLogin: boolean;
  /** Absent: plain HTTP. `own`: a certificate of the cluster's authority. */
  readonly httpTls?: 'own' | { readonly certificateFile: string; readonly keyFile: string };
  /** Address of Grafana, for links of the page; without a slash at its end. */
  readonly grafanaUrl?: string;
  readonly simulatedNodes: number;
  readonly runtime: 'process' | 'simulated' | 'containerd';
  readonly pods: PodSettings;
  /** Absent: the built-in remote. */
  readonly repository?: string;
  /** For a repository behind https; becomes a Secret that the GitRepository refers to. */
  readonly repositoryCredentials?: { readonly username: string; readonly password: string };
  /** Absent: as at the start before, of the same repository. */
  readonly branch?: string;
  readonly path?: string;
  readonly seedDirectory?: string;
  /** The treatment of a push to the built-in remote before its refs move. */
  readonly preReceive: 'off' | 'warn' | 'enforce';
  readonly tlsNames: readonly string[];
  readonly kubeconfigMode: number;
  readonly admissionPlugins?: readonly AdmissionPlugin[];
  /** CSV of static bearer tokens. */
  readonly tokenFile?: string;
  /** Absent: the audit log has the outcome of each request. */
  readonly auditPolicyFile?: string;
  /** A KubeSchedulerConfiguration. Absent: upstream's defaults. */
  readonly schedulerFile?: string;
  /** Absent: Secrets are encrypted with a key of the data directory. */
  readonly encryptionFile?: string;
  /** Absent: no ID tokens. */
  readonly oidc?: OidcSettings;
  readonly tools?: BuildTools;
  /** Field managers, beside the usual ones, whose fields on objects of apps become the apps'. */
  readonly overrideManagers?: readonly string[];
  /** Absent: shares of what Node takes. */
  readonly memory?: MemoryBudget;
  /** Absent: SQLite in the data directory. */
  readonly store?: EtcdSettings | undefined;
  /** Absent: no Ingress is served. */
  readonly ingress?: IngressSettings | undefined;
  /** Absent: every node is a part of this process. */
  readonly machines?: MachinesSettings;
  /** Absent: Services of type LoadBalancer get the addresses of the nodes. */
  readonly cloud?: CloudFlagSettings;
  /** Parts that are not started. */
  readonly disabled?: readonly DisablePart[];
  readonly logLevel: string;
  /** For people: each flag with its value, and where that comes from. */
  readonly settings?: readonly Setting[];
}

/** A value of a start; secrets are not in it. */
export interface Setting {
  /** `--api-port`, or a variable that has no flag. */
  readonly name: string;
  /** Empty: not set. */
  readonly value: string;
  readonly from: 'flag' | 'environment' | 'default';
}

/** A server that other machines join. */
export interface MachinesSettings extends MachinesNetwork, NodeSettings {
  /** Silence after which a Node counts as lost; absent: upstream's 40 s. */
  readonly nodeGraceMs?: number;
  /** The way of packets to pods of other machines; the same on all of them. */
  readonly networkBackend: NetworkBackend;
  /** A cloud provider outside knows the machines: a new Node waits for it. */
  readonly awaitsCloud?: boolean;
  /** `ID.SECRET` of `--token`; absent: one is made. */
  readonly bootstrapToken?: string;
  /** The secret of the servers on one store; absent: that of the data directory, or a new one. */
  readonly serverToken?: ServerToken;
}

/** The Node that a machine is. */
export interface NodeSettings {
  readonly nodeName: string;
  /** The address of the machine for those outside; absent: it has none of its own. */
  readonly externalAddress?: string;
  /** Absent: that of the data directory. */
  readonly manifestDirectory?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  /** The amounts at which the node evicts pods; absent: a kubelet's. */
  readonly eviction?: EvictionSettings;
  /** For the pods of a machine that goes down. */
  readonly shutdown: { readonly allMs: number; readonly criticalMs: number };
}

/** The cloud below the cluster, as flags have it. */
export interface CloudFlagSettings {
  /** A provider in a process of its own. */
  readonly remote?: { readonly url: string; readonly tokenFile?: string };
  /** Addresses for Services of type LoadBalancer. */
  readonly pool?: AddressPool;
}

/** An etcd that somebody else runs. Files are read at the start. */
export interface EtcdSettings {
  readonly address: EtcdAddress;
  readonly tls?: { readonly ca: string | undefined; readonly certificate: string | undefined; readonly key: string | undefined };
  readonly login?: { readonly user: string; readonly passwordFile: string };
}

/** Ports of this machine for Ingresses; 0: any free. */
export interface IngressSettings {
  readonly httpPort: number;
  /** Absent: no TLS. */
  readonly httpsPort: number | undefined;
}

/** Values of `--disable`: parts without which a cluster can be repaired, or that others do better. Three have the names of k3s. */
export const disableParts = [
  ...(['gitops', 'ingress', 'servicelb', 'local-storage', 'metrics-server'] as const),
  ...(['controllers', 'scheduler', 'node'] as const),
] as const;
export type DisablePart = (typeof disableParts)[number];

/** The files of a data directory; the directory itself is 0700. */
export const filesOf = (dataDirectory: string) => ({
  database: join(dataDirectory, 'state.db'),
  /** The name of this server in a store that is not in the data directory. */
  serverId: join(dataDirectory, 'server-id'),
  pki: join(dataDirectory, 'pki'),
  encryption: join(dataDirectory, 'pki', 'encryption.yaml'),
  kubeconfig: join(dataDirectory, 'kubeconfig'),
  endpoints: join(dataDirectory, 'endpoints.json'),
  /** The flags of the last start, for `midship config`. */
  settings: join(dataDirectory, 'settings.json'),
  network: join(dataDirectory, 'network.json'),
  token: join(dataDirectory, 'git-token'),
  /** The token by which machines join a server. */
  joinToken: join(dataDirectory, 'token'),
  /** The token by which further servers join a store in etcd. */
  serverToken: join(dataDirectory, 'server-token'),
  /** Salt and key, a line each, as `deriveKey` made them of that token. */
  derivedKey: join(dataDirectory, 'pki', 'server-token.key'),
  /** The servers of the cluster that a machine joined. */
  servers: join(dataDirectory, 'servers.json'),
  /** The certificates of a machine that joined. */
  agentPki: join(dataDirectory, 'agent-pki'),
  pageToken: join(dataDirectory, 'page-token'),
  pageOwnerToken: join(dataDirectory, 'page-owner-token'),
  repository: join(dataDirectory, 'git', 'cluster.git'),
  gitCache: join(dataDirectory, 'git', 'cache'),
  gitHooks: join(dataDirectory, 'git', 'hooks'),
  pods: join(dataDirectory, 'pods'),
  /** The volumes of the class `local-path`, as k3s has them. */
  storage: join(dataDirectory, 'storage'),
  logs: join(dataDirectory, 'logs'),
  /** The files of the containerd that runs the pods, where they are containers. */
  containerd: join(dataDirectory, 'containerd'),
  /** The directory of the kubelet for drivers of volumes: their sockets and mounts. */
  kubelet: join(dataDirectory, 'kubelet'),
  /** Manifests of static pods: the pods of this machine that no API assigns. */
  manifests: join(dataDirectory, 'manifests'),
  /** Image archives that a start imports. */
  images: join(dataDirectory, 'images'),
  /** The private key of this machine, where packets between machines are encrypted. */
  wireguardKey: join(dataDirectory, 'wireguard', 'private.key'),
  /** Seccomp profiles that pods may name. */
  seccomp: join(dataDirectory, 'seccomp'),
  /** Copies for a backup that is being made. */
  backup: join(dataDirectory, 'backup'),
  lastBackup: join(dataDirectory, 'last-backup.json'),
  auditLog: join(dataDirectory, 'logs', 'audit.log'),
  /** The output of a cluster in the background, and the reason for its end when it failed. */
  terminalLog: join(dataDirectory, 'logs', 'terminal.log'),
  failureLog: join(dataDirectory, 'logs', 'failure.log'),
});

/** The two authorities of a data directory: where their files are, and how their names begin. */
export const authoritiesOf = (dataDirectory: string) => {
  const { pki } = filesOf(dataDirectory);
  return {
    cluster: { directory: pki, authorityName: 'midship-ca' },
    frontProxy: { directory: join(pki, 'front-proxy'), authorityName: 'midship-front-proxy-ca' },
  };
};

export const defaultDataDirectory = (environment: NodeJS.ProcessEnv): string => resolve(environment.MIDSHIP_DATA_DIR || '.midship');
