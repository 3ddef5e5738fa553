import { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Node } from '../../api/core/v1/node.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { sendMessage } from '../../base/message-socket.ts';
import type { KubeletClient } from './kubelet-client.ts';

export interface PodConnectionOptions {
  readonly node: Node;
  readonly pod: Pod;
  readonly port: number;
  /** Abandons the attempt. */
  readonly signal: AbortSignal;
}

const dataChannel = 0;
const errorChannel = 1;
/** Each channel begins with the port in two bytes. */
const openingBytes = 2;

/** A TCP connection to a port of a pod, made by the agent of its node. An error of the agent ends it with that error. */
export async function connectPod(kubelet: KubeletClient, { node, pod, port, signal }: PodConnectionOptions): Promise<Duplex> {
  const { namespace = '', name } = pod.metadata;
  const path = `/portForward/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}?port=${port}`;
  const socket = await kubelet.openSocket(node, { path, protocols: ['v4.channel.k8s.io'], signal });
  return new PodConnection(socket);
}

class PodConnection extends Duplex {
  readonly #socket: WebSocket;

  constructor(socket: WebSocket) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    const opened = new Set<number>();
    socket.on('message', (data: Buffer) => {
      const channel = data[0] ?? -1;
      const payload = data.subarray(1);
      if (!opened.has(channel)) {
        opened.add(channel);
        if (payload.length !== openingBytes) this.destroy(new Error('the agent spoke out of turn'));
        return;
      }
      if (channel === errorChannel) this.destroy(new Error(payload.toString('utf8')));
      else if (channel === dataChannel && !this.push(payload)) socket.pause();
    });
    socket.once('close', () => this.push(null));
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (err?: Error | null) => void): void {
    sendMessage(this.#socket, Buffer.concat([Buffer.of(dataChannel), chunk])).then(() => callback(), callback);
  }

  override _final(callback: (err?: Error | null) => void): void {
    // The protocol knows no half-closed connections.
    callback();
  }

  override _destroy(err: Error | null, callback: (err?: Error | null) => void): void {
    this.#socket.terminate();
    callback(err);
  }
}
