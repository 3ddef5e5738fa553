import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import type { KeyPair } from '../../../src/base/pki/key-pair.ts';
import { openPki, type Pki } from '../../../src/base/pki.ts';
import { createKubeletApi, type KubeletApi } from '../../../src/node-agent/kubelet-api.ts';
import { hasNamespaces, hasTerminals } from '../../support/isolation.ts';
import { startTestNode, type TestNode } from '../../support/node-agent.ts';
import { until } from '../../support/until.ts';

let node: TestNode;
let api: KubeletApi;
let pki: Pki;
let caller: KeyPair;
let directory: string;

const echoServer =
  "require('net').createServer({allowHalfOpen:true},(s)=>{s.on('error',()=>{});s.pipe(s)}).listen(8080,process.env.HOST_IP)";

beforeAll(async () => {
  node = await startTestNode();
  directory = await mkdtemp(join(tmpdir(), 'midship-pki-'));
  pki = await openPki({ directory, clock: systemClock });
  caller = await pki.clientCertificate({ name: 'caller', commonName: 'kube-apiserver-kubelet-client', organizations: ['system:masters'] });
  api = createKubeletApi({
    agent: node.agent,
    runtime: node.runtime,
    address: '127.64.16.1',
    port: 0,
    tls: await pki.serverCertificate({ name: 'node-a', commonName: 'system:node:node-a', hosts: ['127.64.16.1'] }),
    caCertificate: pki.caCertificate,
    clock: systemClock,
    log: createLog({ level: process.env.TEST_LOG_LEVEL ?? 'silent' }),
  });
  await api.start({ signal: new AbortController().signal });
  const env = [{ name: 'HOST_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }];
  await node.run({
    name: 'box',
    terminationGracePeriodSeconds: 0,
    containers: [
      { name: 'main', image: 'host/node', command: ['node', '-e', echoServer], env },
      {
        name: 'reader',
        image: 'host/sh',
        command: ['sh', '-c', 'while read -r line; do echo "got $line"; done; echo end; sleep 600'],
        stdin: true,
        stdinOnce: true,
      },
    ],
  });
  await node.pod('box', 'running', (pod) => pod.status?.containerStatuses?.every(({ ready }) => ready) === true);
  await until(async () => (await node.runtime.listeners(node.agent.podNamed('default', 'box')?.pod.metadata.uid ?? '')).length > 0, {
    what: 'the program listens',
  });
});
afterAll(async () => {
  await api.stop();
  await node.stop();
  await rm(directory, { recursive: true, force: true });
});

interface Stream {
  readonly socket: WebSocket;
  /** Bytes of a channel so far. */
  text(channel: number): string;
  send(channel: number, data: string | Buffer): void;
  status(): { readonly status: string; readonly message?: string; readonly details?: unknown };
  /** The close code. */
  readonly closed: Promise<number>;
}

/** The answer to a request that is not upgraded. */
async function refusalOf(path: string): Promise<string> {
  const tls = { ca: pki.caCertificate, cert: caller.certificate, key: caller.key };
  const socket = new WebSocket(`${api.url.replace('https', 'wss')}${path}`, 'v5.channel.k8s.io', tls);
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage];
  return `${response.statusCode} ${await text(response)}`;
}

async function open(path: string, protocol = 'v5.channel.k8s.io', identity: KeyPair = caller): Promise<Stream> {
  const socket = new WebSocket(`${api.url.replace('https', 'wss')}${path}`, protocol, {
    ca: pki.caCertificate,
    cert: identity.certificate,
    key: identity.key,
  });
  const received = new Map<number, Buffer[]>();
  socket.on('message', (data: Buffer) => {
    const channel = data[0] ?? -1;
    received.set(channel, [...(received.get(channel) ?? []), data.subarray(1)]);
  });
  const closed = new Promise<number>((resolve) => socket.once('close', resolve));
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  socket.on('error', () => undefined);
  const text = (channel: number): string => Buffer.concat(received.get(channel) ?? []).toString();
  return {
    socket,
    closed,
    text,
    send: (channel, data) => socket.send(Buffer.concat([Buffer.of(channel), Buffer.from(data)])),
    status: () => JSON.parse(text(3)),
  };
}

const execPath = (command: readonly string[], options = 'output=1&error=1', container = 'main'): string =>
  `/exec/default/box/${container}?${command.map((word) => `command=${encodeURIComponent(word)}`).join('&')}&${options}`;

describe('exec on a node', () => {
  it('gives output by channel, and the exit code', async () => {
    const stream = await open(execPath(['sh', '-c', 'echo out; echo err >&2; hostname; exit 7']));
    expect(await stream.closed).toBe(1000);
    expect(stream.text(1)).toBe(`out\n${hasNamespaces ? 'box' : hostname()}\n`);
    expect(stream.text(2)).toBe('err\n');
    expect(stream.status()).toEqual({
      metadata: {},
      status: 'Failure',
      message: 'command terminated with non-zero exit code: command terminated with exit code 7',
      reason: 'NonZeroExitCode',
      details: { causes: [{ reason: 'ExitCode', message: '7' }] },
    });
  });

  it('takes input to its end', async () => {
    const stream = await open(execPath(['wc', '-c'], 'input=1&output=1'));
    for (let sent = 0; sent < 32; sent += 1) stream.send(0, Buffer.alloc(32 * 1024, 'x'));
    stream.socket.send(Buffer.of(255, 0));
    expect(await stream.closed).toBe(1000);
    expect(stream.text(1).trim()).toBe('1048576');
    expect(stream.status()).toEqual({ metadata: {}, status: 'Success' });
  });

  it('does not read what the client does not take, and loses nothing', async () => {
    const stream = await open(execPath(['sh', '-c', 'head -c 8388608 /dev/zero; echo done']));
    stream.socket.pause();
    await until(() => stream.socket.isPaused, { what: 'pause' });
    stream.socket.resume();
    expect(await stream.closed).toBe(1000);
    expect(stream.text(1).length).toBe(8_388_608 + 5);
  });

  it('ends with the program though a child of it holds the output', async () => {
    const stream = await open(execPath(['sh', '-c', 'sleep 60 & echo started']));
    expect(await stream.closed).toBe(1000);
    expect(stream.text(1)).toBe('started\n');
  });

  it('kills the command when the client goes away', async () => {
    const stream = await open(execPath(['sh', '-c', 'echo here; exec sleep 987654']));
    await until(() => stream.text(1) === 'here\n', { what: 'output' });
    stream.socket.terminate();
    const container = node.agent.podNamed('default', 'box')?.sandbox?.containers[0]?.id ?? '';
    await until(
      async () => {
        const { stdout } = await node.runtime.exec(container, ['sh', '-c', 'cat /proc/[0-9]*/cmdline'], {
          timeoutMs: 5_000,
          limitBytes: 65_536,
        });
        return !stdout.toString().includes('987654\0');
      },
      { what: 'end of the command' },
    );
  });

  it.skipIf(!hasTerminals)('has a terminal that can be resized and interrupted (needs script, of util-linux)', async () => {
    const stream = await open(execPath(['sh'], 'input=1&output=1&tty=1'));
    stream.send(4, '{"Width":91,"Height":33}');
    await until(
      async () => {
        stream.send(0, 'stty size\n');
        await new Promise((resolve) => systemClock.after(50, () => resolve(undefined)));
        return stream.text(1).includes('33 91');
      },
      { what: () => `size: ${stream.text(1)}` },
    );
    stream.send(0, 'sh -c \'echo be""gun; exec sleep 600\'\n');
    await until(() => stream.text(1).includes('begun'), { what: 'start of a program' });
    stream.send(0, '\x03');
    stream.send(0, 'exit 5\n');
    expect(await stream.closed).toBe(1000);
    expect(stream.status().details, stream.text(1)).toEqual({ causes: [{ reason: 'ExitCode', message: '5' }] });
  });

  it('refuses what is not there, before the upgrade', async () => {
    expect(await refusalOf('/exec/default/none/main?command=ls&output=1')).toBe('404 pod does not exist');
    expect(await refusalOf(execPath(['ls'], 'output=1', 'none'))).toBe('500 container not found ("none")');
    await expect(open('/exec/default/box/main?output=1')).rejects.toThrow('400');
    await expect(open(execPath(['ls']), 'v1.nothing')).rejects.toThrow('403');
    const user = await pki.clientCertificate({ name: 'user', commonName: 'alice', organizations: ['developers'] });
    await expect(open(execPath(['ls']), 'v5.channel.k8s.io', user)).rejects.toThrow('403');
  });

  it('lets nobody send more than a message may hold, nor nonsense on channels', async () => {
    const stream = await open(execPath(['cat'], 'input=1&output=1'));
    stream.send(9, 'who is there');
    stream.send(4, '{"Width":');
    stream.send(4, '[1]');
    stream.socket.send(Buffer.alloc(0));
    stream.send(0, 'still here\n');
    await until(() => stream.text(1) === 'still here\n', { what: 'echo' });
    stream.send(0, Buffer.alloc(2 * 1024 * 1024));
    expect(await stream.closed).toBe(1009);
  });
});

describe('attach on a node', () => {
  it('follows what a program prints, gives it input, and ends its input when it lets go', async () => {
    await node.run({
      name: 'over',
      restartPolicy: 'Never',
      containers: [{ name: 'main', image: 'host/sh', command: ['sh', '-c', 'exit 0'] }],
    });
    await node.pod('over', 'end', ({ status }) => status?.phase === 'Succeeded');
    expect(await refusalOf('/exec/default/over/main?command=ls&output=1')).toBe('500 container not found ("main")');
    expect(await refusalOf('/attach/default/over/main?output=1')).toBe('500 container main not found in pod over_default');
    const without = await open('/attach/default/box/main?output=1&input=1');
    await without.closed;
    expect(without.status().message).toContain('stdin is not set in its spec');

    const stream = await open('/attach/default/box/reader?input=1&output=1');
    await until(() => stream.socket.readyState === WebSocket.OPEN, { what: 'open' });
    stream.send(0, 'one\n');
    await until(() => stream.text(1) === 'got one\n', { what: () => `echo: ${stream.text(1)}${stream.text(3)}` });
    stream.socket.send(Buffer.of(255, 0));
    await until(() => stream.text(1) === 'got one\nend\n', { what: () => `the end of the input: ${stream.text(1)}` });
    stream.socket.close();
    await stream.closed;
  });
});

describe('port-forward on a node', () => {
  it('connects channels with a port', async () => {
    const stream = await open('/portForward/default/box?port=8080', 'v4.channel.k8s.io');
    await until(() => stream.text(0).length === 2 && stream.text(1).length === 2, { what: 'ports' });
    stream.send(0, 'hello');
    await until(() => stream.text(0).endsWith('hello'), { what: 'echo' });
    stream.socket.close();
    await stream.closed;
    const refused = await open('/portForward/default/box?port=8081', 'v4.channel.k8s.io');
    expect(await refused.closed).toBe(1000);
    expect(refused.text(1)).toContain('error forwarding port 8081 to pod box: connect ECONNREFUSED');
    await expect(open('/portForward/default/box?port=0', 'v4.channel.k8s.io')).rejects.toThrow('400');
    await expect(open('/portForward/default/box', 'v4.channel.k8s.io')).rejects.toThrow('400');
  });

  function openSpdy(): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      const request = httpsRequest(`${api.url}/portForward/default/box`, {
        method: 'POST',
        agent: false,
        ca: pki.caCertificate,
        cert: caller.certificate,
        key: caller.key,
        headers: { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': 'portforward.k8s.io' },
      });
      request.once('upgrade', (_response, socket) => {
        socket.on('error', () => undefined);
        resolve(socket);
      });
      request.once('error', reject);
      request.end();
    });
  }

  it.each([
    // The data stream ends, and then the empty error stream, for which the client waits.
    ['closes', '0000000301000000', /00000003010000000000000101000000$/],
    // As kubectl does when the other end of its own connection is closed. An error would end its other connections, too.
    ['resets', '80030003000000080000000300000005', /00000003000000026869(?:0000000301000000)?0000000101000000$/],
  ])('speaks SPDY: the streams of one connection, which kubectl opens and %s', async (_, ending, ended) => {
    const connection = await openSpdy();
    let received = Buffer.alloc(0);
    connection.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
    });
    const openErrorStream =
      '800300010000003e0000000100000000000078f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c60616061c0c0c0c0590489c64c50f2663400000000ffff';
    const openDataStream = '800300010000001a00000003000000000000826a26ac0ad57850499508000000ffff';
    connection.write(Buffer.from(`${openErrorStream}0000000101000000${openDataStream}0000000300000002${'6869'}`, 'hex'));
    await until(() => received.includes(Buffer.from('00000003000000026869', 'hex')), { what: () => `echo: ${received.toString('hex')}` });
    connection.write(Buffer.from(ending, 'hex'));
    await until(() => ended.test(received.toString('hex')), { what: () => received.toString('hex') });
    connection.destroy();
  });

  it('hangs up on what is not SPDY', async () => {
    const connection = await openSpdy();
    const closed = new Promise((resolve) => connection.once('close', resolve));
    connection.resume();
    // A control frame of 16 MB, which must not be waited for.
    connection.write(Buffer.of(0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff));
    await closed;
  });
});
