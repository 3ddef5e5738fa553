import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { run } from '../../support/cluster.ts';
import { busyboxImage } from '../../support/containerd.ts';
import { until } from '../../support/until.ts';
import type { ContainerWorld } from './world.ts';

/** Pods, as their clients see them: addresses, Services, names, streams and ports of the machine. */
export function networkTests(world: ContainerWorld): void {
  const { kubectl, apply, fieldOf, eventsOf } = world;

  it('run on a node that names the runtime, with addresses of their own', async () => {
    expect(await kubectl('get', 'nodes', '-o', 'jsonpath={.items[*].status.nodeInfo.containerRuntimeVersion}')).toMatch(/^containerd:\/\//);
    const addresses = (await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].status.podIP}')).split(' ');
    expect(new Set(addresses).size).toBe(2);
  });

  it('see their image, volumes, one key of a volume and their limits, and nothing of the machine', async () => {
    const seen = await kubectl(
      'exec',
      world.pod,
      '--',
      'sh',
      '-c',
      'cat /www/index.html /etc/one/settings.txt; ls /; ls /proc | grep -c "^[0-9]"; echo x > /scratch/x && ls /scratch',
    );
    expect(seen).toContain('hello from a containerof the map');
    expect(seen).not.toContain('lib64');
    // The program, its helpers and this command, but none of the machine's processes.
    expect(Number(/^\d+$/m.exec(seen)?.[0])).toBeLessThan(12);
    const group = await kubectl(
      'exec',
      world.pod,
      '--',
      'sh',
      '-c',
      'cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max',
    );
    expect(group.trim()).toBe(String(64 * 1024 * 1024));
  });

  it('reach Services and the API by their addresses', async () => {
    const address = await kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}');
    expect(await kubectl('exec', world.pod, '--', 'wget', '-qO-', '-T', '5', `http://${address}/`)).toBe('hello from a container');
    // Rules of the kernel lead there, and the node says so.
    const rules = await run('nft', ['list', 'table', 'ip', `midship-proxy-${address.split('.')[1]}`]);
    expect(rules.stdout).toContain(`${address} . tcp . 80 : goto service-`);
    expect(await kubectl('get', 'nodes', '-l', 'midship.dev/service-proxy=nftables', '-o', 'name')).toBe('node/node-a\n');
    const version = 'wget -qO- -T 5 --no-check-certificate https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/version';
    expect(await kubectl('exec', world.pod, '--', 'sh', '-c', version)).toContain('"major":"1"');
  });

  it('resolve Services by short names, pods of headless Services, and names outside', async () => {
    const [addresses, pet] = await Promise.all([
      kubectl('get', 'services', '-A', '-o', 'jsonpath={range .items[*]}{.metadata.name} {.spec.clusterIP}{"\\n"}{end}'),
      kubectl('get', 'pod', 'pet', '-o', 'jsonpath={.status.podIP}'),
    ]);
    const addressOf = (name: string): string => new RegExp(`^${name} (.*)$`, 'm').exec(addresses)?.[1] ?? '';
    const dns = addressOf('kube-dns');
    // The tenth address of the range, whose first is the API's.
    expect(dns).toBe(`${addressOf('kubernetes')}0`);
    const commands = [
      'cat /etc/resolv.conf',
      'wget -qO- -T 5 http://web/',
      'echo; wget -qO- -T 5 http://web.default/',
      'echo; for name in web rex.pets outside.example missing.example; do ping -c 1 -W 1 $name 2>&1 | head -n 1; done',
    ];
    const seen = await kubectl('exec', world.pod, '--', 'sh', '-c', commands.join('; '));
    expect(seen.split('\n')).toEqual([
      'search default.svc.cluster.local svc.cluster.local cluster.local corp.example',
      `nameserver ${dns}`,
      'options ndots:5',
      'hello from a container',
      'hello from a container',
      `PING web (${addressOf('web')}): 56 data bytes`,
      `PING rex.pets (${pet}): 56 data bytes`,
      'PING outside.example (192.0.2.77): 56 data bytes',
      "ping: bad address 'missing.example'",
      '',
    ]);
    expect(await kubectl('exec', 'pet', '--', 'cat', '/etc/hosts')).toContain(`${pet}\trex.pets.default.svc.cluster.local\trex\n`);
  });

  it('serve logs, exec with input, cp, port-forward and top', async () => {
    expect(await kubectl('logs', world.pod)).toContain('begun');
    const missing = await world.cluster.kubectl('exec', world.pod, '--', 'no-such-program');
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('"no-such-program": executable file not found in $PATH') });
    const file = join(world.cluster.dataDirectory, 'big');
    await writeFile(file, randomBytes(20 * 1024 * 1024));
    const name = world.pod.replace('pod/', '');
    await kubectl('cp', file, `${name}:/scratch/big`);
    await kubectl('cp', `${name}:/scratch/big`, `${file}.back`);
    expect((await readFile(`${file}.back`)).equals(await readFile(file))).toBe(true);
    const page = expect.stringContaining('hello from a container');
    expect(await forwardedAnswers(world)).toEqual(Array.from({ length: connections }, () => page));
    await until(async () => (await world.cluster.kubectl('top', 'pods')).stdout.includes(name), {
      what: 'a measurement',
      timeoutMs: 60_000,
    });
  });

  it('open ports of the machine, each for one pod', async () => {
    // Rules of the kernel take this port on every address of the machine: no other test uses it.
    const port = 28_000 + (process.pid % 1_000);
    const serving = (name: string, spec: object = {}, protocol = 'TCP') => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: {
        ...spec,
        terminationGracePeriodSeconds: 0,
        containers: [
          {
            name: 'main',
            image: busyboxImage,
            command: ['sh', '-c', 'mkdir /www; echo -n by a port > /www/index.html; httpd -f -p 8080 -h /www'],
            ports: [{ containerPort: 8080, hostPort: port, protocol }],
          },
        ],
      },
    });
    await apply(serving('host-port'));
    await kubectl('wait', 'pod/host-port', '--for=condition=Ready', '--timeout=30s');
    const node = await kubectl('get', 'node', 'node-a', '-o', 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}');
    await until(
      async () =>
        (await fetch(`http://${node}:${port}/`).then(
          (answer) => answer.text(),
          () => '',
        )) === 'by a port',
      {
        what: 'an answer at the port of the machine',
      },
    );
    // No scheduler looks at a pod that names its node.
    await apply(serving('same-port', { nodeName: 'node-a' }), serving('other-protocol', { nodeName: 'node-a' }, 'UDP'));
    await until(async () => (await fieldOf('same-port', '.status.phase')) !== 'Pending', { what: 'the answer of the node' });
    const why = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    const refused = { phase: 'Failed', reason: 'NodePorts', message: `Pod was rejected: ${why}` };
    expect(JSON.parse(await fieldOf('same-port', '.status'))).toMatchObject(refused);
    expect(await eventsOf('same-port')).toContain(`NodePorts: ${why}`);
    await kubectl('wait', 'pod/other-protocol', '--for=condition=Ready', '--timeout=30s');
    await kubectl('delete', 'pod', 'host-port', 'same-port', 'other-protocol', '--wait=false');
  });
}

/** Connections through one `kubectl port-forward`. */
const connections = 100;

/** Answers of the web server of the pod to requests of which each is half sent before the first one is whole. */
async function forwardedAnswers({ cluster, pod }: ContainerWorld): Promise<readonly string[]> {
  const env = { ...process.env, KUBECONFIG: cluster.endpoints.kubeconfig };
  const forward = spawn('kubectl', ['port-forward', pod, ':8080'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    // The port is one that kubectl chooses and prints, before a line for each connection.
    const port = await new Promise<number>((resolve, reject) => {
      let printed = '';
      forward.once('exit', () => reject(new Error(`kubectl ended: ${printed}`)));
      forward.stdout.on('data', (chunk) => {
        printed += String(chunk);
        const [, found] = /127\.0\.0\.1:(\d+) /.exec(printed) ?? [];
        if (found !== undefined) resolve(Number(found));
      });
    });
    const sockets = Array.from({ length: connections }, () => connect(port, '127.0.0.1'));
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    for (const socket of sockets) socket.write('GET / HTTP/1.0\r\n');
    return await Promise.all(
      sockets.map((socket) => {
        socket.write('\r\n');
        return text(socket);
      }),
    );
  } finally {
    forward.kill('SIGKILL');
  }
}
