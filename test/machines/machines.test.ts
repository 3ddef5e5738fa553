import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeSelfSigned } from '../../src/base/pki/self-signed.ts';
import { program, run } from '../support/cluster.ts';
import { busyboxArchive, whyNoContainerd } from '../support/containerd.ts';
import { temporaryDirectory } from '../support/git.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { type MachineProcess, Machines, whyNoMachines } from '../support/machines.ts';
import { until } from '../support/until.ts';
import { balanced, ingress, latePods, marker, memoryPods, mover, policy, poolAddress, udp, web } from './manifests.ts';

const whyNot = hasKubectl ? (whyNoMachines ?? whyNoContainerd) : 'kubectl is not installed';

const whyNoWireguard = ['/usr/bin/wg', '/usr/bin/wireguard-go', '/dev/net/tun'].find((path) => !existsSync(path));

const udpServer = `const s = require('dgram').createSocket('udp4'); s.on('message', (_, from) => s.send(process.argv[1], from.port, from.address)); s.bind(5353);`;
/** Prints the answer to a packet that it sends from a port of its own. */
const udpClient = `const [, host, port, from] = process.argv; const s = require('dgram').createSocket('udp4'); s.bind(+from, () => s.send('?', +port, host));
s.on('message', (answer) => { process.stdout.write(String(answer)); s.close(); process.exit(); }); setTimeout(() => process.exit(1), 1000);`;

/** The server is gone for this time; the gate has no two minutes for it. */
const goneMs = Number(process.env.MIDSHIP_SERVER_GONE_SECONDS ?? '2') * 1_000;

const page = join(import.meta.dirname, '../../docs/how-to/three-machines.md');
/** Commands of the page, with the machine that runs them. */
const blocksOf = (text: string): readonly { readonly machine: 1 | 2; readonly script: string }[] =>
  [...text.matchAll(/```sh (first|other)\n([\s\S]*?)```/g)].map(([, who, script = '']) => ({ machine: who === 'first' ? 1 : 2, script }));
/** A failure that a person has to repair has three lines: what, why, fix. */
const threeLines = /(?:^|\n)✗ [^\n]+\n {2}[^\n]+\n {2}[^\n]+\n$/;

describe.skipIf(whyNot !== undefined)(
  `machines that join (skipped where containers cannot run: ${whyNot ?? 'they can here'})`,
  { shuffle: false },
  () => {
    const machines = new Machines('first', 'second', 'third', 'outside');
    /** A machine that runs no node. */
    const outside = 4;
    const serverUrl = `https://${machines.address(1)}:6443`;
    const directories: string[] = [];
    let agent: MachineProcess;
    let third: MachineProcess;
    let blocks: ReturnType<typeof blocksOf>;
    let home: string;
    /** Lines of the page by which a shell exports variables for later ones. */
    let exported = '';

    const serverDirectory = (): string => directories[0] ?? '';
    const agentDirectory = (): string => directories[1] ?? '';
    const tryKubectl = (...args: string[]) => machines.run(1, 'kubectl', '--kubeconfig', join(serverDirectory(), 'kubeconfig'), ...args);
    const kubectl = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await tryKubectl(...args);
      if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
      return stdout;
    };
    const podsOn = async (node: string): Promise<readonly { readonly name: string; readonly ip: string }[]> =>
      (
        await kubectl(
          'get',
          'pods',
          '-l',
          'app=web',
          '-o',
          'jsonpath={range .items[*]}{.spec.nodeName} {.metadata.name} {.status.podIP}{"\\n"}{end}',
        )
      )
        .split('\n')
        .map((line) => line.split(' '))
        .filter(([at]) => at === node)
        .map(([, name = '', ip = '']) => ({ name, ip }));
    /** The text of the page, for the machines of this test. */
    const translated = ({ machine, script }: { readonly machine: 1 | 2; readonly script: string }): string =>
      script
        .replaceAll('/var/lib/midship', directories[machine - 1] ?? '')
        .replaceAll('192.168.1.10', machines.address(1))
        .replaceAll('--token-file token', `--token-file ${home}/token`)
        .replaceAll('NODE', 'second');
    const follow = async (block: { readonly machine: 1 | 2; readonly script: string }): Promise<void> => {
      const script = translated(block);
      const variables = { HOME: home, PATH: `${home}/bin:${process.env.PATH}`, MIDSHIP_DATA_DIR: directories[block.machine - 1] ?? '' };
      const { code, stdout, stderr } = await machines.runWith(block.machine, variables, [
        'bash',
        '-euo',
        'pipefail',
        '-c',
        exported + script,
      ]);
      expect(code, `${script}\n${stdout}\n${stderr}`).toBe(0);
      exported += (script.match(/^export .*$/gm) ?? []).map((line) => `${line}\n`).join('');
    };
    /** The line of the page that starts an agent, which stays in the foreground. */
    const startAgent = () => {
      const block = blocks.find(({ machine, script }) => machine === 2 && script.startsWith('midship agent '));
      const [, ...args] = translated(block ?? { machine: 2, script: '' })
        .trim()
        .split(' ');
      return machines.start(2, agentDirectory(), ...args);
    };
    const startThird = (...args: readonly string[]) =>
      machines.start(3, directories[2] ?? '', 'agent', '--server', serverUrl, '--token-file', join(home, 'token'), ...args);
    const restartsOf = () => kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].status.containerStatuses[0].restartCount}');
    const balancerAddresses = () => kubectl('get', 'service', 'balanced', '-o', 'jsonpath={.status.loadBalancer.ingress[*].ip}');
    /** The page, as a client on a machine of its own sees it. */
    const pageAt = async (host: string): Promise<string> =>
      (await machines.run(outside, 'curl', '-sS', '-m', '3', `http://${host}/`)).stdout;
    const holderOf = async (address: string): Promise<string> => {
      const holders: string[] = [];
      for (const [n, name] of [
        [1, 'first'],
        [2, 'second'],
        [3, 'third'],
      ] as const)
        if ((await machines.run(n, 'ip', '-o', 'addr')).stdout.includes(` ${address}/32 `)) holders.push(name);
      return holders.join(' and ');
    };
    const readyOf = (node: string) => kubectl('get', 'node', node, '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}');

    beforeAll(async () => {
      await machines.create();
      for (const name of ['server', 'agent', 'third']) {
        const directory = await temporaryDirectory(name);
        await mkdir(join(directory, 'images'), { recursive: true });
        await writeFile(join(directory, 'images', 'busybox.tar'), await busyboxArchive());
        directories.push(directory);
      }
      home = await temporaryDirectory('home');
      await mkdir(join(home, 'bin'));
      await writeFile(join(home, 'bin', 'midship'), `#!/bin/sh\nexec "${process.execPath}" "${program}" "$@"\n`);
      await chmod(join(home, 'bin', 'midship'), 0o755);
      blocks = blocksOf(await readFile(page, 'utf8'));
      const [server, , ...rest] = blocks.slice(0, 4);
      expect(blocks).toHaveLength(7);
      if (server !== undefined) await follow(server);
      await copyFile(join(serverDirectory(), 'token'), join(home, 'token'));
      agent = await startAgent();
      const joining = startThird();
      for (const block of rest) await follow(block);
      third = await joining;
      await kubectl('wait', 'node', '--all', '--for=condition=Ready', '--timeout=60s');
      await writeFile(join(serverDirectory(), 'web.yaml'), web);
      await kubectl('apply', '-f', join(serverDirectory(), 'web.yaml'));
      await kubectl('rollout', 'status', 'deployment/web', '--timeout=90s');
    });
    afterAll(async () => {
      for (const [index, directory] of [...directories.entries()].reverse())
        await machines.midship(index + 1, 'down', '--purge', '--yes', '--data-dir', directory);
      await machines.remove();
    });

    it('have a Node, a role and a range each', async () => {
      const text = await kubectl(
        'get',
        'nodes',
        '-o',
        'jsonpath={range .items[*]}{.metadata.name} {.spec.podCIDR} {.status.addresses[*].address}{"\\n"}{end}',
      );
      expect(text).toBe(
        `first 10.42.0.0/24 ${machines.address(1)} first\nsecond 10.42.1.0/24 ${machines.address(2)} second\nthird 10.42.2.0/24 ${machines.address(3)} third\n`,
      );
      expect(await kubectl('get', 'nodes', '--no-headers')).toMatch(
        /^first +Ready +control-plane .*\nsecond +Ready +<none> .*\nthird +Ready +<none> /,
      );
    });

    it('run pods that reach each other by address, Service and name, and the API', async () => {
      const [[here], [there], [third]] = [await podsOn('second'), await podsOn('first'), await podsOn('third')];
      const seen = await kubectl(
        'exec',
        here?.name ?? '',
        '--',
        'sh',
        '-c',
        `for url in http://${there?.ip}:8080/ http://${third?.ip}:8080/ http://web/ http://web.default.svc.cluster.local/; do wget -T 5 -qO- $url; echo; done; wget -T 5 -qO- --no-check-certificate https://kubernetes.default/version`,
      );
      expect(seen.match(/hello across machines/g)).toHaveLength(4);
      expect(seen).toContain('+midship.');
      expect(await kubectl('logs', here?.name ?? '')).toContain('begun');
    });

    it('run pods that see the address of the pod that calls them', async () => {
      const [[here], [there]] = [await podsOn('second'), await podsOn('first')];
      const seen = await kubectl('exec', here?.name ?? '', '--', 'wget', '-T', '5', '-qO-', `http://${there?.ip}:8080/cgi-bin/caller`);
      // The server listens on both families.
      expect(seen.trim()).toBe(`[::ffff:${here?.ip}]`);
    });

    it('enforce network policies on one machine, across machines and through Services', async () => {
      const [[here, neighbour], [there]] = [await podsOn('second'), await podsOn('first')];
      const calls = async (): Promise<string> => {
        const urls = [`http://${neighbour?.ip}:8080/`, `http://${there?.ip}:8080/`, 'http://web/'];
        const script = `for url in ${urls.join(' ')}; do wget -T 5 -qO /dev/null $url && echo passes || echo refused; done`;
        return (await kubectl('exec', here?.name ?? '', '--', 'sh', '-c', script)).trim().replaceAll('\n', ' ');
      };
      const callsBecome = (wanted: string) =>
        until(async () => (await calls()) === wanted, { what: `connections: ${wanted}`, timeoutMs: 20_000 });
      await writeFile(join(serverDirectory(), 'policy.yaml'), policy);
      await kubectl('apply', '-f', join(serverDirectory(), 'policy.yaml'));
      await callsBecome('refused refused refused');
      // The agents go on to probe, and a pod that starts under the policy gets ready.
      await kubectl('delete', 'pod', there?.name ?? '');
      await kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
      await kubectl('label', 'pod', here?.name ?? '', 'role=client');
      const [replacement] = await podsOn('first');
      expect(replacement?.ip).toBeDefined();
      await until(async () => (await calls()).endsWith('passes'), { what: 'the Service answers a pod that the policy lets pass' });
      await kubectl('patch', 'networkpolicy', 'web', '-p', '{"spec":{"policyTypes":["Egress"],"egress":[],"ingress":[]}}');
      await callsBecome('refused refused refused');
      await kubectl('delete', 'networkpolicy', 'web');
      await until(async () => (await calls()).endsWith('passes'), { what: 'a policy that was removed opens', timeoutMs: 20_000 });
      expect(await kubectl('get', 'events', '--field-selector', 'reason=NoController', '-o', 'name')).toBe('');
    });

    it('serve Ingresses with TLS at the address of a machine that joined', async () => {
      const { certificate, key } = await makeSelfSigned('web.example', Date.now());
      const files = { certificate: join(home, 'web.crt'), key: join(home, 'web.key') };
      await writeFile(files.certificate, certificate);
      await writeFile(files.key, key);
      await kubectl('create', 'secret', 'tls', 'web', `--cert=${files.certificate}`, `--key=${files.key}`);
      await writeFile(join(serverDirectory(), 'ingress.yaml'), ingress);
      await kubectl('apply', '-f', join(serverDirectory(), 'ingress.yaml'));
      const address = machines.address(2);
      const call = () =>
        machines.run(
          outside,
          'curl',
          '-sS',
          '-m',
          '5',
          '--cacert',
          files.certificate,
          '--resolve',
          `web.example:443:${address}`,
          'https://web.example/',
        );
      await until(async () => (await call()).stdout === 'hello across machines', {
        what: async () => `the page comes by TLS, and not: ${(await call()).stderr}`,
        timeoutMs: 20_000,
      });
      const addresses = () => kubectl('get', 'ingress', 'web', '-o', 'jsonpath={.status.loadBalancer.ingress[*].ip}');
      const all = `${machines.address(1)} ${address} ${machines.address(3)}`;
      await until(async () => (await addresses()) === all, { what: 'all machines in the status' });
    });

    it('give a Service of type LoadBalancer their own addresses, and its ports on each of them', async () => {
      await writeFile(join(serverDirectory(), 'balanced.yaml'), balanced);
      await kubectl('apply', '-f', join(serverDirectory(), 'balanced.yaml'));
      const all = [1, 2, 3].map((n) => machines.address(n)).join(' ');
      await until(async () => (await balancerAddresses()) === all, { what: 'all addresses' });
      for (const n of [1, 2, 3])
        await until(async () => (await pageAt(`${machines.address(n)}:8088`)) === 'hello across machines', {
          what: `the page of machine ${n}`,
        });
    });

    it('answer UDP by Service and node port, and send a client on when its pod is gone', async () => {
      await writeFile(join(serverDirectory(), 'udp.yaml'), udp);
      await kubectl('apply', '-f', join(serverDirectory(), 'udp.yaml'));
      await kubectl('wait', 'pod', '-l', 'app=udp', '--for=condition=Ready', '--timeout=30s');
      const address = await kubectl('get', 'service', 'udp', '-o', 'jsonpath={.spec.clusterIP}');
      // A client that keeps its port, as a resolver may, is the same connection to the kernel.
      const servers = await Promise.all(
        ['udp-first', 'udp-second'].map(async (name) => {
          const pid = (await run('pgrep', ['-of', `name=${marker}-${name}`])).stdout.trim();
          return spawn('nsenter', ['-t', pid, '-n', process.execPath, '-e', udpServer, name], { stdio: 'ignore' });
        }),
      );
      const ask = async (n: number, ...to: readonly (string | number)[]): Promise<string> =>
        (await machines.run(n, process.execPath, '-e', udpClient, ...to.map(String))).stdout;
      const answers = (n: number, host: string, port: number, from: number, wanted = /^udp-/) =>
        until(async () => [await ask(n, host, port, from)].find((answer) => wanted.test(answer)), {
          what: `an answer of ${wanted} at ${host}:${port} to machine ${n}`,
          timeoutMs: 20_000,
        });
      for (const n of [1, outside]) for (const host of [1, 2, 3]) await answers(n, machines.address(host), 30_553, 4_000 + host);
      const first = await answers(1, address, 5_353, 4_100);
      await kubectl('delete', 'pod', first, '--wait=false');
      await answers(1, address, 5_353, 4_100, first === 'udp-first' ? /^udp-second$/ : /^udp-first$/);
      for (const server of servers) server.kill('SIGKILL');
      await kubectl('delete', '-f', join(serverDirectory(), 'udp.yaml'), '--wait=false', '--ignore-not-found');
    });

    it('see a changed ConfigMap', async () => {
      await kubectl('patch', 'configmap', 'page', '-p', '{"data":{"index.html":"changed"}}');
      const [pod] = await podsOn('second');
      await until(async () => (await kubectl('exec', pod?.name ?? '', '--', 'cat', '/www/index.html')) === 'changed', {
        what: 'the pod sees the change',
        timeoutMs: 30_000,
      });
    });

    it('adopt their pods after a kill -9 of the agent', async () => {
      const before = await podsOn('second');
      await agent.kill();
      agent = await startAgent();
      const restarts = await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].status.containerStatuses[0].restartCount}');
      expect(await podsOn('second')).toEqual(before);
      expect(restarts).toBe('0 0 0 0 0 0');
      expect(await kubectl('exec', before[0]?.name ?? '', '--', 'hostname')).toBe(`${before[0]?.name}\n`);
    });

    it('run on without the server that was killed, and take its new work when it is back', { timeout: 180_000 + goneMs }, async () => {
      const placed = async () => [await podsOn('first'), await podsOn('second'), await podsOn('third')];
      const before = await placed();
      const service = await kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}');
      const file = join(serverDirectory(), 'endpoints.json');
      const { pid } = JSON.parse(await readFile(file, 'utf8')) as { readonly pid: number };
      process.kill(pid, 'SIGKILL');
      await until(() => !existsSync(`/proc/${pid}/exe`), { what: 'the server is gone' });
      await rm(file);
      // Pods that call a Service, and a client outside that calls a machine, see no difference.
      const backAt = Date.now() + goneMs;
      do {
        for (const n of [1, 2, 3]) {
          expect((await machines.run(n, 'curl', '-sS', '-m', '3', `http://${service}/`)).stdout, `machine ${n}`).toBe('changed');
          expect(await pageAt(`${machines.address(n)}:8088`), `at machine ${n}`).toBe('changed');
        }
        await setTimeout(Math.min(1_000, Math.max(0, backAt - Date.now())));
      } while (Date.now() < backAt);
      const pool = ['--load-balancer-pool', `${poolAddress},10.201.0.240/28`];
      await machines.start(
        1,
        serverDirectory(),
        'server',
        '--node-external-ip',
        '198.51.100.1',
        '--node-monitor-grace-period',
        '20s',
        ...pool,
      );
      await writeFile(join(serverDirectory(), 'mover.yaml'), mover);
      await kubectl('apply', '-f', join(serverDirectory(), 'mover.yaml'));
      await kubectl('rollout', 'status', 'deployment/mover', '--timeout=90s');
      expect(await kubectl('get', 'pods', '-l', 'app=mover', '-o', 'jsonpath={.items[*].spec.nodeName}')).toBe('second');
      await kubectl('wait', 'node', '--all', '--for=condition=Ready', '--timeout=60s');
      expect(await placed()).toEqual(before);
      expect(await restartsOf()).toBe('0 0 0 0 0 0');
      expect(await kubectl('get', 'nodes', '-o', 'wide')).toMatch(/first .*198\.51\.100\.1 /);
    });

    it('lose their pods to others without a cable, and come back clean with it', async () => {
      const before = await podsOn('second');
      await kubectl('patch', 'service', 'balanced', '-p', `{"spec":{"loadBalancerIP":"${poolAddress}"}}`);
      await until(async () => (await holderOf(poolAddress)) === 'second', { what: 'the second machine announces the address of the pool' });
      await until(async () => (await pageAt(`${poolAddress}:8088`)) === 'changed', { what: 'the page at that address' });
      await machines.plug(2, 'down');
      await refusals();
      await until(async () => (await readyOf('second')) === 'Unknown', { what: 'the machine counts as lost', timeoutMs: 60_000 });
      await until(
        async () =>
          (await kubectl('get', 'pods', '-l', 'app=mover', '-o', 'jsonpath={range .items[*]}{.spec.nodeName} {.status.phase};{end}')).match(
            /(?:first|third) Running;/,
          ) !== null,
        { what: 'its pod runs elsewhere', timeoutMs: 60_000 },
      );
      // The client knew another machine by that address.
      await until(async () => (await pageAt(`${poolAddress}:8088`)) === 'changed', { what: 'another machine took the address over' });
      await machines.plug(2, 'up');
      await until(async () => (await holderOf(poolAddress)) === 'second', {
        what: 'the address is at one machine again',
        timeoutMs: 60_000,
      });
      await until(async () => (await pageAt(`${poolAddress}:8088`)) === 'changed', { what: 'the page, after the address came back' });
      await until(async () => (await readyOf('second')) === 'True', { what: 'the machine is back', timeoutMs: 60_000 });
      const moved = () => kubectl('get', 'pods', '-l', 'app=mover', '-o', 'jsonpath={.items[*].spec.nodeName}');
      await until(async () => /^(?:first|third)$/.test(await moved()), {
        what: 'the former pod is gone',
        timeoutMs: 60_000,
      });
      // The API says so first, and the machine has done it by then.
      expect((await run('pgrep', ['-fc', marker])).stdout).toBe('1\n');
      expect(await podsOn('second')).toEqual(before);
      expect(await restartsOf()).toBe('0 0 0 0 0 0');
    });

    /** Machines that cannot join, from one that has no node yet. */
    async function refusals(): Promise<void> {
      const token = (await readFile(join(home, 'token'), 'utf8')).trim();
      const created = (await machines.midship(1, 'token', 'create', '--ttl', '1h', '--data-dir', serverDirectory())).stdout.trim();
      expect(created).toMatch(/^K10[0-9a-f]{64}::[a-z0-9]{6}\.[a-z0-9]{16}$/);
      expect((await machines.midship(1, 'token', 'delete', created, '--data-dir', serverDirectory())).code).toBe(0);
      const short = ['token', 'create', '--ttl', '1s', '--data-dir', serverDirectory()];
      const ended = (await machines.midship(1, ...short)).stdout.trim();
      const directory = await temporaryDirectory('refused');
      const tryToJoin = (n: number, ...args: readonly string[]) =>
        machines.midship(n, 'agent', '--server', serverUrl, '--data-dir', directory, ...args);
      for (const [n, args, message] of [
        [outside, ['--token', token, '--node-name', 'first'], 'There is a Node first already, and a token does not replace it.'],
        [outside, ['--token', created], 'refuses the token'],
        [outside, ['--token', `K10${'0'.repeat(64)}${token.slice(67)}`], 'is not the cluster of this token'],
        [outside, ['--token', token.slice(0, 40)], 'the token is not one of a Midship server'],
        [outside, ['--token', token, '--node-ip', '10.201.0.99'], '10.201.0.99 is not an address of this machine'],
        [
          2,
          ['--token', token, '--node-name', 'fourth', '--node-ip', machines.address(2)],
          'port 10250 is taken\n  Another program listens there',
        ],
      ] as const) {
        const { code, stderr } = await tryToJoin(n, ...args);
        expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(message) });
        expect(stderr).toMatch(threeLines);
        expect(stderr).not.toContain(token.slice(69));
      }
      // More than a second later.
      const late = await tryToJoin(outside, '--token', ended);
      expect(late).toMatchObject({ code: 2, stderr: expect.stringMatching(/refuses the token\n.*\n.*token create/) });
      if (existsSync('/usr/bin/faketime')) {
        const agent = [process.execPath, program, 'agent', '--server', `https://${machines.address(1)}:6443`, '--data-dir', directory];
        const { code, stderr } = await machines.run(outside, 'faketime', '-f', '+1h', ...agent, '--token', token);
        expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('the clock of this machine is 60 minutes ahead of') });
        expect(stderr).toMatch(threeLines);
      }
      await expectClean(outside);
      expect((await run('pgrep', ['-fc', directory])).stdout).toBe('0\n');
      expect(await kubectl('get', 'nodes', '-o', 'name')).toBe('node/first\nnode/second\nnode/third\n');
    }

    it('evict the pod that uses more memory than it requests, and take no pod without a request, while memory is short', async () => {
      const applyPods = async (text: string): Promise<void> => {
        await writeFile(join(serverDirectory(), 'pods.yaml'), text);
        await kubectl('apply', '-f', join(serverDirectory(), 'pods.yaml'));
      };
      const fieldOf = (pod: string, path: string) => kubectl('get', 'pod', pod, '-o', `jsonpath={${path}}`);
      const ofNode = (path: string) => kubectl('get', 'node', 'third', '-o', `jsonpath={${path}}`);
      await applyPods(memoryPods);
      await kubectl('wait', 'pod/hungry', 'pod/modest', '--for=condition=Ready', '--timeout=60s');
      await third.kill();
      // No machine has so much; 100 % would switch the threshold off.
      third = await startThird('--kubelet-arg', 'eviction-hard=memory.available<1Pi');
      await until(async () => (await fieldOf('hungry', '.status.phase')) === 'Failed', { what: 'the eviction', timeoutMs: 60_000 });

      const message = await fieldOf('hungry', '.status.message');
      expect(message).toMatch(
        /^The node was low on resource: memory\. Threshold quantity: \S+, available: \d+[KMG]i\. Container main was using \d+Ki, request is 1Mi, has larger consumption of memory\. $/,
      );
      expect(await fieldOf('hungry', '.status.reason')).toBe('Evicted');
      const events = await kubectl('get', 'events', '--field-selector', 'involvedObject.name=hungry,reason=Evicted', '-o', 'name');
      expect(events).toContain('event/hungry.');
      await until(async () => (await ofNode('.spec.taints[?(@.effect=="NoSchedule")].key')) === 'node.kubernetes.io/memory-pressure', {
        what: 'the taint',
      });
      expect(await ofNode('.status.conditions[?(@.type=="MemoryPressure")].reason')).toBe('KubeletHasInsufficientMemory');
      const settings = await machines.midship(3, 'config', '--data-dir', directories[2] ?? '');
      expect(settings.stdout).toMatch(/ of the process that runs\n[\s\S]*\n--kubelet-arg +eviction-hard=memory\.available<1Pi +flag\n/);
      await applyPods(latePods);
      await until(async () => (await fieldOf('refused', '.status.reason')) === 'Evicted', {
        what: 'the refusal of a pod without a request',
      });
      expect(await fieldOf('refused', '.status.message')).toBe('Pod was rejected: The node had condition: [MemoryPressure]. ');
      await kubectl('wait', 'pod/burstable', '--for=condition=Ready', '--timeout=30s');
      expect(await fieldOf('modest', '.status.phase')).toBe('Running');
      await kubectl('delete', 'pod', 'hungry', 'modest', 'refused', 'burstable');
    });

    it('leave nothing behind when they go', async () => {
      await kubectl('drain', 'third', '--ignore-daemonsets', '--delete-emptydir-data', '--timeout=60s');
      expect((await machines.midship(3, 'down', '--purge', '--yes', '--data-dir', directories[2] ?? '')).code).toBe(0);
      await kubectl('delete', 'node', 'third');
      await expectClean(3);
      for (const block of blocks.slice(4)) {
        if (block.machine === 2 && block.script.includes('midship down')) {
          // As when somebody stops the agent by Ctrl-C, and asks for more at once.
          process.kill(agent.pid, 'SIGTERM');
          await until(() => agent.output().includes('stopping the pods'), { what: 'the agent stops', intervalMs: 5 });
          // At once, and not when its Lease has ended.
          await until(async () => (await readyOf('second')) === 'False', { what: 'the Node says that it stops', timeoutMs: 10_000 });
        }
        await follow(block);
      }
      await kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
      expect((await machines.run(2, 'ip', 'route')).stdout).not.toContain('10.42.');
      expect((await machines.run(2, 'ip', '-o', 'link')).stdout).not.toContain('veth');
      expect((await machines.run(2, 'nft', 'list', 'tables')).stdout).not.toContain('midship');
      await until(async () => !(await machines.run(1, 'ip', 'route')).stdout.includes('10.42.1.0'), {
        what: 'the server forgets the route',
      });
      directories.length = 1;
    });

    it('are clean after down, also where the server was killed before', async () => {
      const directory = serverDirectory();
      const { pid } = JSON.parse(await readFile(join(directory, 'endpoints.json'), 'utf8')) as { readonly pid: number };
      process.kill(pid, 'SIGKILL');
      await until(() => !existsSync(`/proc/${pid}/exe`), { what: 'the server is gone' });
      expect((await machines.run(1, 'ip', '-o', 'link')).stdout).toContain('veth');
      const { code, stderr } = await machines.midship(1, 'down', '--purge', '--yes', '--data-dir', directory);
      expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/stopped \d+ pods? that outlived a crash/) });
      await expectClean(1);
      expect(existsSync(directory)).toBe(false);
      directories.length = 0;
    });

    async function expectClean(n: number): Promise<void> {
      expect((await machines.run(n, 'ip', 'route')).stdout).not.toContain('10.42.');
      expect((await machines.run(n, 'ip', '-o', 'link')).stdout).not.toMatch(/veth|midship-/);
      expect((await machines.run(n, 'nft', 'list', 'tables')).stdout).not.toContain('midship');
    }

    it.skipIf(whyNoWireguard !== undefined)(
      `encrypt what their pods say to each other (skipped where there is no WireGuard: ${whyNoWireguard ?? 'there is here'})`,
      async () => {
        await separateWireguardSockets();
        const made = [await temporaryDirectory('server'), await temporaryDirectory('agent')] as const;
        for (const directory of made) {
          await mkdir(join(directory, 'images'), { recursive: true });
          await writeFile(join(directory, 'images', 'busybox.tar'), await busyboxArchive());
        }
        directories.push(...made);
        await machines.start(1, made[0], 'server', '--network-backend', 'wireguard', '--disable', 'ingress');
        await machines.start(2, made[1], 'agent', '--server', serverUrl, '--token-file', join(made[0], 'token'), '--disable', 'ingress');
        await writeFile(join(made[0], 'web.yaml'), web);
        await kubectl('apply', '-f', join(made[0], 'web.yaml'));
        await kubectl('rollout', 'status', 'deployment/web', '--timeout=90s');
        const [[here], [there]] = [await podsOn('second'), await podsOn('first')];
        expect((await machines.run(2, 'ip', 'route', 'get', there?.ip ?? '')).stdout).toContain('dev midship-wg');
        const receivedBytes = async (n: number): Promise<number> => {
          const { stdout } = await machines.run(n, 'wg', 'show', 'midship-wg', 'transfer');
          return Number(stdout.trim().split('\t')[1] ?? 0);
        };
        const before = await receivedBytes(1);
        const page = ['wget', '-T', '5', '-qO-', `http://${there?.ip}:8080/`];
        await until(async () => (await tryKubectl('exec', here?.name ?? '', '--', ...page)).stdout === 'hello across machines', {
          what: 'the page of the other machine',
        });
        expect(await receivedBytes(1)).toBeGreaterThan(before);
        for (const n of [2, 1]) {
          const { code } = await machines.midship(n, 'down', '--purge', '--yes', '--data-dir', made[n - 1] ?? '');
          expect(code).toBe(0);
          await expectClean(n);
        }
        directories.length = 0;
      },
    );

    /** wireguard-go has a socket for the name of its device, which both machines share with the file system of this one. */
    async function separateWireguardSockets(): Promise<void> {
      const bin = join(home, 'wireguard');
      await mkdir(bin);
      const scripts = {
        'wireguard-go':
          'mkdir -p /var/run/wireguard; exec unshare -m sh -c "mount -t tmpfs own /var/run/wireguard && exec /usr/bin/wireguard-go $*"',
        wg: 'for p in $(pgrep -x wireguard-go); do [ "$(readlink /proc/$p/ns/net)" = "$(readlink /proc/self/ns/net)" ] && exec nsenter --mount=/proc/$p/ns/mnt /usr/bin/wg "$@"; done; exec /usr/bin/wg "$@"',
      };
      for (const [name, script] of Object.entries(scripts)) {
        await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
        await chmod(join(bin, name), 0o755);
      }
      process.env.PATH = `${bin}:${process.env.PATH}`;
    }
  },
);
