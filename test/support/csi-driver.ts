import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { chmod, mkdir, rmdir } from 'node:fs/promises';
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { GrpcError, grpcCodes } from '../../src/base/grpc.ts';
import type { CsiNodeInfo, ExpandRequest, PluginInfo, PublishRequest, StageRequest } from '../../src/node-agent/csi/csi-client.ts';
import { type ProtobufMethods, readProtobufMethods } from '../../src/node-agent/protobuf-methods.ts';

const run = promisify(execFile);

export interface CsiDriverOptions {
  /** The directory of the kubelet. */
  readonly kubelet: string;
  /** Holds a directory for each volume. */
  readonly volumes: string;
  readonly name?: string;
  /** The file name of its sockets; the name of the driver when absent. */
  readonly socketName?: string;
  readonly info?: Partial<PluginInfo>;
  readonly node?: Partial<CsiNodeInfo>;
  readonly capabilities?: readonly string[];
  /** It accepts connections, and answers nothing. */
  readonly isMute?: boolean;
}

export interface CsiCall {
  readonly method: string;
  readonly request: Partial<StageRequest & PublishRequest & ExpandRequest>;
}

/** A driver of volumes (CSI) that mounts directories of this machine, with its registrar: both are servers of this process. Needs root. */
export class CsiDriverProcess {
  readonly calls: CsiCall[] = [];
  /** Questions about the usage of volumes. */
  readonly measured: CsiCall['request'][] = [];
  /** The agent's answers to the registrar: the empty text when the driver is registered. */
  readonly statuses: string[] = [];
  /** Replaces what a call does. */
  readonly instead = new Map<string, (request: CsiCall['request']) => Promise<void>>();
  readonly registrationSocket: string;
  readonly #servers: Http2Server[] = [];
  readonly #sessions = new Set<ServerHttp2Session>();

  private constructor(registrationSocket: string) {
    this.registrationSocket = registrationSocket;
  }

  static async start(options: CsiDriverOptions): Promise<CsiDriverProcess> {
    const { kubelet, volumes, name = 'test.csi.example' } = options;
    const { socketName = name, isMute = false, capabilities = ['STAGE_UNSTAGE_VOLUME'] } = options;
    const endpoint = join(kubelet, 'plugins', socketName, 'csi.sock');
    const driver = new CsiDriverProcess(join(kubelet, 'plugins_registry', `${socketName}-reg.sock`));
    const source = (id = ''): string => join(volumes, id);
    /** Pods of every id write there. */
    const makeSource = async (id: string | undefined): Promise<void> => {
      if (existsSync(source(id))) return;
      await mkdir(source(id));
      await chmod(source(id), 0o777);
    };
    const csi = readProtobufMethods(new URL('../../src/node-agent/csi/csi.proto', import.meta.url));
    const registration = readProtobufMethods(new URL('../../src/node-agent/csi/plugin-registration.proto', import.meta.url));
    const node: Handlers = new Map([
      ['NodeGetInfo', answering(csi, ['Empty', 'NodeGetInfoResponse'], async () => ({ nodeId: 'machine-1', ...options.node }))],
      [
        'NodeGetCapabilities',
        answering(csi, ['Empty', 'NodeGetCapabilitiesResponse'], async () => ({
          capabilities: capabilities.map((type) => ({ rpc: { type } })),
        })),
      ],
    ]);
    node.set(
      'NodeGetVolumeStats',
      answering<CsiCall['request']>(csi, ['NodeGetVolumeStatsRequest', 'NodeGetVolumeStatsResponse'], async (request) => {
        driver.measured.push(request);
        return {
          usage: [
            { unit: 'BYTES', available: 60, total: 100, used: 40 },
            { unit: 'INODES', available: 7, total: 9, used: 2 },
          ],
        };
      }),
    );
    const acts: Readonly<Record<string, (request: CsiCall['request']) => Promise<void>>> = {
      NodeStageVolume: async ({ volumeId, stagingTargetPath = '' }) => {
        await makeSource(volumeId);
        await run('mount', ['--bind', source(volumeId), stagingTargetPath]);
      },
      NodeUnstageVolume: async ({ stagingTargetPath = '' }) => unmount(stagingTargetPath),
      NodePublishVolume: async ({ volumeId, targetPath = '', stagingTargetPath = '', readonly }) => {
        await makeSource(volumeId);
        await mkdir(targetPath, { recursive: true });
        await run('mount', ['--bind', stagingTargetPath === '' ? source(volumeId) : stagingTargetPath, targetPath]);
        if (readonly === true) await run('mount', ['-o', 'remount,bind,ro', targetPath]);
      },
      NodeUnpublishVolume: async ({ targetPath = '' }) => {
        if (!existsSync(targetPath)) return;
        await unmount(targetPath);
        await rmdir(targetPath);
      },
      NodeExpandVolume: async () => undefined,
    };
    for (const [method, act] of Object.entries(acts)) {
      const response = method === 'NodeExpandVolume' ? 'NodeExpandVolumeResponse' : 'Empty';
      const handler = answering<CsiCall['request']>(csi, [`${method}Request`, response], async (request) => {
        driver.calls.push({ method, request });
        await (driver.instead.get(method) ?? act)(request);
        return {};
      });
      node.set(method, handler);
    }
    const registrar: Handlers = new Map([
      [
        'GetInfo',
        answering(registration, ['Empty', 'PluginInfo'], async () => ({
          type: 'CSIPlugin',
          name,
          endpoint,
          supportedVersions: ['1.0.0'],
          ...options.info,
        })),
      ],
      [
        'NotifyRegistrationStatus',
        answering<{ error: string }>(registration, ['RegistrationStatus', 'Empty'], async ({ error }) => {
          driver.statuses.push(error);
          return {};
        }),
      ],
    ]);
    await driver.#serve(endpoint, isMute ? undefined : node);
    await driver.#serve(driver.registrationSocket, isMute ? undefined : registrar);
    return driver;
  }

  methods(): readonly string[] {
    return this.calls.map(({ method }) => method);
  }

  called(method: string): CsiCall['request'] | undefined {
    return this.calls.findLast((call) => call.method === method)?.request;
  }

  async #serve(socketPath: string, handlers: Handlers | undefined): Promise<void> {
    await mkdir(dirname(socketPath), { recursive: true });
    rmSync(socketPath, { force: true });
    const server = createServer();
    server.on('stream', (stream, headers) => {
      stream.on('error', () => undefined);
      const method = String(headers[':path']).split('/').at(-1) ?? '';
      if (handlers !== undefined) void serveCall(stream, handlers.get(method));
    });
    server.on('session', (session) => {
      this.#sessions.add(session);
      session.on('error', () => undefined);
      session.on('close', () => this.#sessions.delete(session));
    });
    server.listen(socketPath);
    await once(server, 'listening');
    this.#servers.push(server);
  }

  /** Its sockets go with it, and its mounts stay. */
  async stop(): Promise<void> {
    const closed = this.#servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve)));
    for (const session of this.#sessions) session.destroy();
    await Promise.all(closed);
  }
}

type Handlers = Map<string, (request: Uint8Array) => Promise<Uint8Array>>;

function answering<Request>(
  methods: ProtobufMethods,
  [request, response]: readonly [string, string],
  answer: (request: Request) => Promise<object>,
): (bytes: Uint8Array) => Promise<Uint8Array> {
  // The server's side: what a client encodes is decoded here.
  const { encode, decode } = methods<object, Request>('-', { request: response, response: request });
  return async (bytes) => encode(await answer(decode(bytes)));
}

async function serveCall(stream: ServerHttp2Stream, handler: ((request: Uint8Array) => Promise<Uint8Array>) | undefined): Promise<void> {
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(piece as Buffer);
  let status = { 'grpc-status': String(grpcCodes.ok), 'grpc-message': '' };
  let body = Buffer.alloc(0);
  try {
    if (handler === undefined) throw new GrpcError(grpcCodes.unimplemented, 'unknown method');
    const message = await handler(Buffer.concat(pieces).subarray(5));
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    body = Buffer.concat([head, message]);
  } catch (err) {
    const code = err instanceof GrpcError ? err.code : grpcCodes.internal;
    status = { 'grpc-status': String(code), 'grpc-message': encodeURIComponent(err instanceof Error ? err.message : String(err)) };
  }
  if (stream.destroyed) return;
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers(status));
  stream.end(body);
}

/** Idempotent, as the specification wants it. */
async function unmount(path: string): Promise<void> {
  await run('umount', [path]).catch((err: Error) => {
    if (!err.message.includes('not mounted')) throw err;
  });
}
