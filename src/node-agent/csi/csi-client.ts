import { connect } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { createGrpcClient, GrpcError, type GrpcMethod, grpcCodes } from '../../base/grpc.ts';
import { type ProtobufMethods, readProtobufMethods } from '../protobuf-methods.ts';

/**
 * The calls of the Container Storage Interface that a node makes to a driver, over the driver's unix socket. The driver is another program,
 * so each call has a deadline, and answers and texts a bound. Errors have the words that a kubelet gives them.
 *
 * @see https://github.com/container-storage-interface/spec
 */
export interface CsiClient {
  nodeInfo(): Promise<CsiNodeInfo>;
  /** Abilities of the driver's node part beside mounting. */
  capabilities(): Promise<ReadonlySet<CsiCapability>>;
  stage(request: StageRequest): Promise<void>;
  unstage(request: { readonly volumeId: string; readonly stagingTargetPath: string }): Promise<void>;
  publish(request: PublishRequest): Promise<void>;
  unpublish(request: { readonly volumeId: string; readonly targetPath: string }): Promise<void>;
  expand(request: ExpandRequest): Promise<void>;
  stats(request: StatsRequest): Promise<readonly VolumeUsage[]>;
  close(): void;
}

/** A driver's registrar, as a kubelet asks it. */
export interface RegistrationClient {
  info(): Promise<PluginInfo>;
  /** @param error  the reason of a refusal; undefined: the plugin is registered */
  notify(error: string | undefined): Promise<void>;
  close(): void;
}

export interface PluginInfo {
  readonly type: string;
  readonly name: string;
  /** The socket of the plugin itself; empty: the one that was asked. */
  readonly endpoint: string;
  readonly supportedVersions: readonly string[];
}

export interface CsiNodeInfo {
  readonly nodeId: string;
  /** 0: unknown, so not bounded. */
  readonly maxVolumesPerNode: number;
  readonly accessibleTopology?: { readonly segments: Readonly<Record<string, string>> } | null;
}

export type CsiCapability =
  | 'STAGE_UNSTAGE_VOLUME'
  | 'EXPAND_VOLUME'
  | 'SINGLE_NODE_MULTI_WRITER_CAPABILITY'
  | 'VOLUME_MOUNT_GROUP'
  | 'GET_VOLUME_STATS'
  | 'VOLUME_CONDITION'
  | 'UNKNOWN_CAPABILITY';

type Texts = Readonly<Record<string, string>>;

export interface VolumeCapability {
  readonly mount: { readonly fsType: string; readonly mountFlags: readonly string[]; readonly volumeMountGroup?: string };
  readonly accessMode: { readonly mode: string };
}

export interface StageRequest {
  readonly volumeId: string;
  readonly publishContext: Texts;
  readonly stagingTargetPath: string;
  readonly volumeCapability: VolumeCapability;
  readonly secrets: Texts;
  readonly volumeContext: Texts;
}

export interface PublishRequest extends Omit<StageRequest, 'stagingTargetPath'> {
  /** Absent: the driver stages nothing. */
  readonly stagingTargetPath?: string;
  readonly targetPath: string;
  readonly readonly: boolean;
}

export interface ExpandRequest {
  readonly volumeId: string;
  readonly volumePath: string;
  readonly capacityRange: { readonly requiredBytes: number };
  readonly stagingTargetPath?: string;
  readonly volumeCapability: VolumeCapability;
  readonly secrets: Texts;
}

export interface StatsRequest {
  readonly volumeId: string;
  readonly volumePath: string;
  readonly stagingTargetPath?: string;
}

export interface VolumeUsage {
  readonly available: number;
  readonly total: number;
  readonly used: number;
  readonly unit: 'BYTES' | 'INODES' | 'UNKNOWN_UNIT';
}

/** The kubelet's deadline of a call that may format and mount a disk. */
const operationMs = 2 * 60_000;
const questionMs = 10_000;
/** A registrar has its answer ready. */
const registrationMs = 5_000;
const maxAnswerBytes = 4 * 1024 * 1024;
const maxErrorCharacters = 700;

export function createCsiClient({ socketPath, clock }: CsiClientOptions): CsiClient {
  const { call, close } = openCalls({ socketPath, clock, file: new URL('csi.proto', import.meta.url) });
  const plain = (name: string, timeoutMs: number) =>
    call<object, object>(`Node/${name}`, { request: `${name}Request`, response: 'Empty' }, timeoutMs);
  const nodeInfo = call<object, CsiNodeInfo>('Node/NodeGetInfo', { request: 'Empty', response: 'NodeGetInfoResponse' }, questionMs);
  const getCapabilities = call<object, { capabilities: readonly { rpc?: { type: CsiCapability } | null }[] }>(
    'Node/NodeGetCapabilities',
    { request: 'Empty', response: 'NodeGetCapabilitiesResponse' },
    questionMs,
  );
  const [stage, unstage, publish, unpublish] = (['Stage', 'Unstage', 'Publish', 'Unpublish'] as const).map((verb) =>
    plain(`Node${verb}Volume`, operationMs),
  ) as [PlainCall, PlainCall, PlainCall, PlainCall];
  const expand = call<object, object>(
    'Node/NodeExpandVolume',
    { request: 'NodeExpandVolumeRequest', response: 'NodeExpandVolumeResponse' },
    operationMs,
  );
  const stats = call<object, { usage: readonly VolumeUsage[] }>(
    'Node/NodeGetVolumeStats',
    { request: 'NodeGetVolumeStatsRequest', response: 'NodeGetVolumeStatsResponse' },
    questionMs,
  );
  return {
    nodeInfo: () => nodeInfo({}),
    async capabilities() {
      const { capabilities } = await getCapabilities({});
      return new Set(capabilities.flatMap(({ rpc }) => (rpc?.type === undefined ? [] : [rpc.type])));
    },
    stage: async (request) => void (await stage(request)),
    unstage: async (request) => void (await unstage(request)),
    publish: async (request) => void (await publish(request)),
    unpublish: async (request) => void (await unpublish(request)),
    expand: async (request) => void (await expand(request)),
    stats: async (request) => (await stats(request)).usage,
    close,
  };
}

export function createRegistrationClient({ socketPath, clock }: CsiClientOptions): RegistrationClient {
  const { call, close } = openCalls({ socketPath, clock, file: new URL('plugin-registration.proto', import.meta.url) });
  const info = call<object, PluginInfo>('Registration/GetInfo', { request: 'Empty', response: 'PluginInfo' }, registrationMs);
  const notify = call<object, object>(
    'Registration/NotifyRegistrationStatus',
    { request: 'RegistrationStatus', response: 'Empty' },
    registrationMs,
  );
  return {
    info: () => info({}),
    notify: async (error) => void (await notify({ pluginRegistered: error === undefined, error: error ?? '' })),
    close,
  };
}

interface CsiClientOptions {
  readonly socketPath: string;
  readonly clock: Clock;
}

type PlainCall = (request: object) => Promise<object>;

function openCalls({ socketPath, clock, file }: CsiClientOptions & { readonly file: URL }) {
  const grpc = createGrpcClient({ connect: () => connect(socketPath), clock, maxMessageBytes: maxAnswerBytes });
  const methods: ProtobufMethods = readProtobufMethods(file);
  return {
    close: () => grpc.close(),
    call<Request, Response>(
      path: string,
      names: Parameters<ProtobufMethods>[1],
      timeoutMs: number,
    ): (request: Request) => Promise<Response> {
      const method: GrpcMethod<Request, Response> = methods(path, names);
      return async (request) => {
        try {
          return await grpc.call(method, request, { timeoutMs });
        } catch (err) {
          throw err instanceof GrpcError ? new Error(textOf(err), { cause: err }) : err;
        }
      };
    },
  };
}

/** `rpc error: code = NotFound desc = …`, as in the Events of a kubelet. The driver's part of it is cut. */
function textOf({ code, message }: GrpcError): string {
  const name = Object.entries(grpcCodes).find(([, known]) => known === code)?.[0] ?? `code(${code})`;
  return `rpc error: code = ${name.charAt(0).toUpperCase()}${name.slice(1)} desc = ${message.slice(0, maxErrorCharacters)}`;
}
