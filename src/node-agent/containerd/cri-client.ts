import { connect } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { type CallOptions, createGrpcClient } from '../../base/grpc.ts';
import { readProtobufMethods } from '../protobuf-methods.ts';

/**
 * The calls of the Container Runtime Interface that the agent makes, over the runtime's unix socket. Times are nanoseconds since the epoch,
 * rounded to what a double holds (256 ns).
 *
 * @see https://github.com/kubernetes/cri-api runtime.v1
 */
export interface CriClient {
  version(): Promise<{ readonly runtimeName: string; readonly runtimeVersion: string }>;
  runPodSandbox(config: CriSandboxConfig, runtimeHandler: string): Promise<string>;
  stopPodSandbox(sandboxId: string): Promise<void>;
  removePodSandbox(sandboxId: string): Promise<void>;
  listPodSandboxes(labels: Readonly<Record<string, string>>): Promise<readonly CriSandbox[]>;
  /** The address of the pod; empty while it has none. */
  podAddress(sandboxId: string): Promise<string>;
  /** The process that holds the sandbox's namespaces; undefined when it has none any more. */
  sandboxPid(sandboxId: string): Promise<number | undefined>;
  createContainer(sandboxId: string, config: CriContainerConfig, sandbox: CriSandboxConfig): Promise<string>;
  startContainer(containerId: string): Promise<void>;
  /** Resolves when the program has ended. */
  stopContainer(containerId: string, graceSeconds: number): Promise<void>;
  removeContainer(containerId: string): Promise<void>;
  listContainers(labels: Readonly<Record<string, string>>): Promise<readonly CriContainer[]>;
  containerStatus(containerId: string): Promise<CriContainerStatus>;
  /** Call after the log file was renamed. */
  reopenContainerLog(containerId: string): Promise<void>;
  execSync(containerId: string, command: readonly string[], timeoutMs: number): Promise<CriExecResult>;
  /** An address on the runtime's streaming server, good for one request. */
  execUrl(request: CriExecRequest): Promise<string>;
  attachUrl(request: Omit<CriExecRequest, 'cmd'>): Promise<string>;
  portForwardUrl(sandboxId: string, port: number): Promise<string>;
  /** The image on this machine; undefined when it is not here. */
  imageStatus(image: string): Promise<CriImage | undefined>;
  /** Asks the registry, whether or not the image is here. Resolves with the image's reference. */
  pullImage(image: string, auth: CriAuth | undefined, signal?: AbortSignal): Promise<string>;
  listImages(): Promise<readonly CriImage[]>;
  /** Removes every name of the image. One that is not here is fine. */
  removeImage(id: string): Promise<void>;
  /** The configuration of the runtime as it shows it, in a format of its own: JSON for containerd. */
  shownConfiguration(): Promise<string>;
  updateContainer(containerId: string, resources: CriResources): Promise<void>;
  containerStats(): Promise<readonly CriContainerStats[]>;
  /** Something happened to a container. One consumer for each runtime: two would share the events between them. */
  containerEvents(signal: AbortSignal): AsyncIterable<CriEvent>;
  close(): void;
}

export type CriNamespaceMode = 'POD' | 'CONTAINER' | 'NODE' | 'TARGET';

export interface CriNamespaces {
  readonly network: CriNamespaceMode;
  readonly pid: CriNamespaceMode;
  readonly ipc: CriNamespaceMode;
  /** The container whose processes are seen; goes with `TARGET`. */
  readonly targetId?: string;
  /** Absent: the users of the machine. */
  readonly usernsOptions?: { readonly mode: 'POD'; readonly uids: readonly CriIdMapping[]; readonly gids: readonly CriIdMapping[] };
}

/** The ids from `containerId` on of a pod are those from `hostId` on of the machine. */
export interface CriIdMapping {
  readonly hostId: number;
  readonly containerId: number;
  readonly length: number;
}

export interface CriSandboxMetadata {
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly attempt: number;
}

export interface CriSandboxConfig {
  readonly metadata: CriSandboxMetadata;
  readonly hostname: string;
  readonly logDirectory: string;
  readonly dnsConfig?: { readonly servers: readonly string[]; readonly searches: readonly string[]; readonly options: readonly string[] };
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly portMappings: readonly CriPortMapping[];
  readonly linux: {
    readonly cgroupParent: string;
    readonly securityContext: {
      readonly namespaceOptions: CriNamespaces;
      readonly privileged: boolean;
      readonly seccomp: CriSecurityProfile;
    };
    readonly sysctls: Readonly<Record<string, string>>;
  };
}

export interface CriPortMapping {
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly containerPort: number;
  readonly hostPort: number;
  readonly hostIp: string;
}

interface CriSecurityProfile {
  readonly profileType: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
  /** The file of a profile of type Localhost. */
  readonly localhostRef?: string;
}

export interface CriSandbox {
  readonly id: string;
  readonly metadata: CriSandboxMetadata;
  readonly state: 'SANDBOX_READY' | 'SANDBOX_NOTREADY';
  readonly createdAt: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface CriMount {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readonly: boolean;
  readonly propagation?: 'PROPAGATION_PRIVATE' | 'PROPAGATION_HOST_TO_CONTAINER' | 'PROPAGATION_BIDIRECTIONAL';
}

export interface CriContainerConfig {
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly image: { readonly image: string };
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly envs: readonly { readonly key: string; readonly value: Buffer }[];
  readonly mounts: readonly CriMount[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Below the sandbox's log directory. */
  readonly logPath: string;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  readonly tty: boolean;
  readonly linux: {
    readonly resources: CriResources;
    readonly securityContext: {
      readonly capabilities: { readonly addCapabilities: readonly string[]; readonly dropCapabilities: readonly string[] };
      readonly privileged: boolean;
      readonly namespaceOptions: CriNamespaces;
      readonly runAsUser?: { readonly value: number };
      readonly runAsGroup?: { readonly value: number };
      readonly readonlyRootfs: boolean;
      readonly supplementalGroups: readonly number[];
      readonly noNewPrivs: boolean;
      readonly maskedPaths: readonly string[];
      readonly readonlyPaths: readonly string[];
      readonly seccomp: CriSecurityProfile;
    };
  };
}

export interface CriResources {
  readonly cpuPeriod: number;
  readonly cpuQuota: number;
  readonly cpuShares: number;
  readonly memoryLimitInBytes: number;
  /** Memory and swap together. */
  readonly memorySwapLimitInBytes?: number;
  readonly oomScoreAdj: number;
}

export interface CriContainer {
  readonly id: string;
  readonly podSandboxId: string;
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly image: { readonly image: string };
  readonly imageRef: string;
  readonly state: 'CONTAINER_CREATED' | 'CONTAINER_RUNNING' | 'CONTAINER_EXITED' | 'CONTAINER_UNKNOWN';
  readonly createdAt: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface CriContainerStatus {
  readonly id: string;
  readonly state: CriContainer['state'];
  readonly createdAt: number;
  /** 0: not started. */
  readonly startedAt: number;
  readonly finishedAt: number;
  readonly exitCode: number;
  readonly imageRef: string;
  readonly reason: string;
  readonly message: string;
  readonly logPath: string;
}

export interface CriExecResult {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly exitCode: number;
}

export interface CriExecRequest {
  readonly containerId: string;
  readonly cmd: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export interface CriImage {
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly size: number;
  readonly uid?: { readonly value: number } | null;
  readonly username: string;
  /** The runtime needs it, or an administrator keeps it. */
  readonly pinned: boolean;
}

/** Credentials for the registry at `serverAddress`, an URL. */
export interface CriAuth {
  readonly username: string;
  readonly password: string;
  readonly serverAddress: string;
  readonly identityToken: string;
}

export interface CriContainerStats {
  readonly attributes: { readonly id: string; readonly labels: Readonly<Record<string, string>> };
  readonly cpu?: { readonly usageCoreNanoSeconds?: { readonly value: number } | null } | null;
  readonly memory?: {
    readonly workingSetBytes?: { readonly value: number } | null;
    readonly usageBytes?: { readonly value: number } | null;
    readonly rssBytes?: { readonly value: number } | null;
  } | null;
  readonly writableLayer?: {
    readonly usedBytes?: { readonly value: number } | null;
    readonly inodesUsed?: { readonly value: number } | null;
  } | null;
}

export interface CriEvent {
  readonly containerId: string;
  readonly podSandboxStatus?: { readonly id: string; readonly metadata?: CriSandboxMetadata | null } | null;
}

/** Deadlines of the kubelet: a runtime that hangs fails the call, and the next pass tries again. */
const callMs = 2 * 60_000;
const sandboxMs = 4 * 60_000;
/** A pull may take long; one that hangs must end. */
const pullMs = 30 * 60_000;
/** On top of the time that the container, or the command, has for itself. */
const slackMs = 10_000;

export function createCriClient({ socketPath, clock }: { readonly socketPath: string; readonly clock: Clock }): CriClient {
  const grpc = createGrpcClient({ connect: () => connect(socketPath), clock });
  const method = readProtobufMethods(new URL('cri.proto', import.meta.url));

  const runtime = <Request, Response>(name: string, request: string, response: string) =>
    method<Request, Response>(`RuntimeService/${name}`, { request, response });
  const image = <Request, Response>(name: string, request: string, response: string) =>
    method<Request, Response>(`ImageService/${name}`, { request, response });

  const version = runtime<object, { runtimeName: string; runtimeVersion: string }>('Version', 'Empty', 'VersionResponse');
  const runPodSandbox = runtime<object, { podSandboxId: string }>('RunPodSandbox', 'RunPodSandboxRequest', 'SandboxId');
  const stopPodSandbox = runtime<object, object>('StopPodSandbox', 'SandboxId', 'Empty');
  const removePodSandbox = runtime<object, object>('RemovePodSandbox', 'SandboxId', 'Empty');
  const listPodSandbox = runtime<object, { items: CriSandbox[] }>('ListPodSandbox', 'ListPodSandboxRequest', 'ListPodSandboxResponse');
  const podSandboxStatus = runtime<object, { status?: { network?: { ip: string } | null } | null; info: Readonly<Record<string, string>> }>(
    'PodSandboxStatus',
    'PodSandboxStatusRequest',
    'PodSandboxStatusResponse',
  );
  const createContainer = runtime<object, { containerId: string }>('CreateContainer', 'CreateContainerRequest', 'ContainerId');
  const startContainer = runtime<object, object>('StartContainer', 'ContainerId', 'Empty');
  const stopContainer = runtime<object, object>('StopContainer', 'StopContainerRequest', 'Empty');
  const removeContainer = runtime<object, object>('RemoveContainer', 'ContainerId', 'Empty');
  const listContainers = runtime<object, { containers: CriContainer[] }>(
    'ListContainers',
    'ListContainersRequest',
    'ListContainersResponse',
  );
  const containerStatus = runtime<object, { status: CriContainerStatus }>('ContainerStatus', 'ContainerId', 'ContainerStatusResponse');
  const status = runtime<object, { info: Readonly<Record<string, string>> }>('Status', 'StatusRequest', 'StatusResponse');
  const updateContainer = runtime<object, object>('UpdateContainerResources', 'UpdateContainerResourcesRequest', 'Empty');
  const reopenContainerLog = runtime<object, object>('ReopenContainerLog', 'ContainerId', 'Empty');
  const execSync = runtime<object, CriExecResult>('ExecSync', 'ExecSyncRequest', 'ExecSyncResponse');
  const exec = runtime<object, { url: string }>('Exec', 'ExecRequest', 'StreamingUrl');
  const attach = runtime<object, { url: string }>('Attach', 'AttachRequest', 'StreamingUrl');
  const portForward = runtime<object, { url: string }>('PortForward', 'PortForwardRequest', 'StreamingUrl');
  const listContainerStats = runtime<object, { stats: CriContainerStats[] }>(
    'ListContainerStats',
    'ListContainerStatsRequest',
    'ListContainerStatsResponse',
  );
  const containerEvents = runtime<object, CriEvent>('GetContainerEvents', 'Empty', 'ContainerEvent');
  const imageStatus = image<object, { image?: CriImage | null }>('ImageStatus', 'ImageStatusRequest', 'ImageStatusResponse');
  const pullImage = image<object, { imageRef: string }>('PullImage', 'PullImageRequest', 'PullImageResponse');

  const listImages = image<object, { images: CriImage[] }>('ListImages', 'ListImagesRequest', 'ListImagesResponse');
  const removeImage = image<object, object>('RemoveImage', 'RemoveImageRequest', 'Empty');

  const usual: CallOptions = { timeoutMs: callMs };
  return {
    version: () => grpc.call(version, {}, usual),
    runPodSandbox: async (config, runtimeHandler) =>
      (await grpc.call(runPodSandbox, { config, runtimeHandler }, { timeoutMs: sandboxMs })).podSandboxId,
    stopPodSandbox: async (podSandboxId) => void (await grpc.call(stopPodSandbox, { podSandboxId }, { timeoutMs: sandboxMs })),
    removePodSandbox: async (podSandboxId) => void (await grpc.call(removePodSandbox, { podSandboxId }, usual)),
    listPodSandboxes: async (labelSelector) => (await grpc.call(listPodSandbox, { filter: { labelSelector } }, usual)).items,
    podAddress: async (podSandboxId) => (await grpc.call(podSandboxStatus, { podSandboxId }, usual)).status?.network?.ip ?? '',
    async sandboxPid(podSandboxId) {
      const { info } = await grpc.call(podSandboxStatus, { podSandboxId, verbose: true }, usual);
      const { pid } = JSON.parse(info.info ?? '{}') as { readonly pid?: number };
      return pid === 0 ? undefined : pid;
    },
    createContainer: async (podSandboxId, config, sandboxConfig) =>
      (await grpc.call(createContainer, { podSandboxId, config, sandboxConfig }, usual)).containerId,
    startContainer: async (containerId) => void (await grpc.call(startContainer, { containerId }, usual)),
    stopContainer: async (containerId, graceSeconds) =>
      void (await grpc.call(stopContainer, { containerId, timeout: graceSeconds }, { timeoutMs: graceSeconds * 1_000 + callMs })),
    removeContainer: async (containerId) => void (await grpc.call(removeContainer, { containerId }, usual)),
    listContainers: async (labelSelector) => (await grpc.call(listContainers, { filter: { labelSelector } }, usual)).containers,
    containerStatus: async (containerId) => (await grpc.call(containerStatus, { containerId }, usual)).status,
    shownConfiguration: async () => (await grpc.call(status, { verbose: true }, usual)).info.config ?? '',
    updateContainer: async (containerId, linux) => void (await grpc.call(updateContainer, { containerId, linux }, usual)),
    reopenContainerLog: async (containerId) => void (await grpc.call(reopenContainerLog, { containerId }, usual)),
    execSync: (containerId, cmd, timeoutMs) =>
      grpc.call(execSync, { containerId, cmd, timeout: Math.ceil(timeoutMs / 1_000) }, { timeoutMs: timeoutMs + slackMs }),
    execUrl: async (request) => (await grpc.call(exec, request, usual)).url,
    attachUrl: async (request) => (await grpc.call(attach, request, usual)).url,
    portForwardUrl: async (podSandboxId, port) => (await grpc.call(portForward, { podSandboxId, port: [port] }, usual)).url,
    imageStatus: async (name) => (await grpc.call(imageStatus, { image: { image: name } }, usual)).image ?? undefined,
    pullImage: async (name, auth, signal) =>
      (await grpc.call(pullImage, { image: { image: name }, ...(auth === undefined ? {} : { auth }) }, { timeoutMs: pullMs, signal }))
        .imageRef,
    listImages: async () => (await grpc.call(listImages, {}, usual)).images,
    removeImage: async (id) => void (await grpc.call(removeImage, { image: { image: id } }, usual)),
    containerStats: async () => (await grpc.call(listContainerStats, {}, usual)).stats,
    containerEvents: (signal) => grpc.stream(containerEvents, {}, { signal }),
    close: () => grpc.close(),
  };
}
