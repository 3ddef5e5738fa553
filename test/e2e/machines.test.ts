import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { busyboxArchive, busyboxImage, whyNoContainerd } from '../support/containerd.ts';
import { temporaryDirectory } from '../support/git.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { type MachineProcess, Machines, whyNoMachines } from '../support/machines.ts';
import { until } from '../support/until.ts';

const whyNot = hasKubectl ? (whyNoMachines ?? whyNoContainerd) : 'kubectl is not installed';

const manifest = `
apiVersion: v1
kind: ConfigMap
metadata: { name: page }
data:
  index.html: "hello across machines"
  caller: |
    #!/bin/sh
    printf 'Content-Type: text/plain\\n\\n%s\\n' "$REMOTE_ADDR"
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 4
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 2
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: DoNotSchedule
          labelSelector: { matchLabels: { app: web } }
      containers:
        - name: web
          image: ${busyboxImage}
          imagePullPolicy: IfNotPresent
          command: [sh, -c, 'echo begun; trap "exit 0" TERM; httpd -p 8080 -h /www; while :; do sleep 0.1; done']
          readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 1 }
          volumeMounts: [{ name: page, mountPath: /www }]
      volumes:
        - name: page
          configMap:
            name: page
            items: [{ key: index.html, path: index.html }, { key: caller, path: cgi-bin/caller, mode: 0755 }]
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
`;

const policy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web }
spec:
  podSelector: { matchLabels: { app: web } }
  ingress:
    - from: [{ podSelector: { matchLabels: { role: client } } }]
      ports: [{ port: 8080 }]
`;

describe.skipIf(whyNot !== undefined)(
  `machines that join (skipped where containers cannot run: ${whyNot ?? 'they can here'})`,
  { shuffle: false },
  () => {
    const machines = new Machines(2);
    const directories: string[] = [];
    let agent: MachineProcess;

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
    const startAgent = () =>
      machines.start(
        2,
        agentDirectory(),
        'agent',
        '--server',
        `https://${machines.address(1)}:6443`,
        '--token-file',
        join(serverDirectory(), 'token'),
        '--node-name',
        'second',
      );

    beforeAll(async () => {
      await machines.create();
      for (const name of ['server', 'agent']) {
        const directory = await temporaryDirectory(name);
        await mkdir(join(directory, 'images'), { recursive: true });
        await writeFile(join(directory, 'images', 'busybox.tar'), await busyboxArchive());
        directories.push(directory);
      }
      await machines.start(1, serverDirectory(), 'server', '--node-name', 'first', '--node-external-ip', '198.51.100.1');
      agent = await startAgent();
      await writeFile(join(serverDirectory(), 'web.yaml'), manifest);
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
        `first 10.42.0.0/24 ${machines.address(1)} 198.51.100.1 first\nsecond 10.42.1.0/24 ${machines.address(2)} second\n`,
      );
      expect(await kubectl('get', 'nodes', '-o', 'wide')).toMatch(/first .*198\.51\.100\.1 /);
      expect(await kubectl('get', 'nodes', '--no-headers')).toMatch(/^first +Ready +control-plane .*\nsecond +Ready +<none> /);
    });

    it('run pods that reach each other by address, Service and name, and the API', async () => {
      const [[here], [there]] = [await podsOn('second'), await podsOn('first')];
      const seen = await kubectl(
        'exec',
        here?.name ?? '',
        '--',
        'sh',
        '-c',
        `for url in http://${there?.ip}:8080/ http://web/ http://web.default.svc.cluster.local/; do wget -T 5 -qO- $url; echo; done; wget -T 5 -qO- --no-check-certificate https://kubernetes.default/version`,
      );
      expect(seen.match(/hello across machines/g)).toHaveLength(3);
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
      expect(restarts).toBe('0 0 0 0');
      expect(await kubectl('exec', before[0]?.name ?? '', '--', 'hostname')).toBe(`${before[0]?.name}\n`);
    });

    it('are refused under a name that is taken, and with a token that was deleted', async () => {
      const [, secret = ''] = /::(.*)\n/.exec(await readFile(join(serverDirectory(), 'token'), 'utf8')) ?? [];
      const directory = await temporaryDirectory('refused');
      const args = ['agent', '--server', `https://${machines.address(1)}:6443`, '--data-dir', directory];
      const taken = await machines.midship(2, ...args, '--token-file', join(serverDirectory(), 'token'), '--node-name', 'first');
      expect(taken.code).toBe(2);
      expect(taken.stderr).toContain('There is a Node first already, and a token does not replace it.');

      const created = await machines.midship(1, 'token', 'create', '--ttl', '1h', '--data-dir', serverDirectory());
      expect(created.stdout).toMatch(/^K10[0-9a-f]{64}::[a-z0-9]{6}\.[a-z0-9]{16}\n$/);
      const listed = await machines.midship(1, 'token', 'list', '--data-dir', serverDirectory());
      expect(listed.stdout).not.toContain(secret.slice(7));
      expect((await machines.midship(1, 'token', 'delete', created.stdout.trim(), '--data-dir', serverDirectory())).code).toBe(0);
      const refused = await machines.midship(2, ...args, '--token', created.stdout.trim(), '--node-name', 'third');
      expect(refused.code).toBe(2);
      expect(refused.stderr).toContain('refuses the token');
    });

    it('leave nothing behind when they go', async () => {
      await kubectl('drain', 'second', '--ignore-daemonsets', '--delete-emptydir-data', '--force', '--timeout=60s');
      const down = await machines.midship(2, 'down', '--purge', '--yes', '--data-dir', agentDirectory());
      expect(down).toMatchObject({ code: 0 });
      await kubectl('delete', 'node', 'second');
      await kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
      expect((await machines.run(2, 'ip', 'route')).stdout).not.toContain('10.42.');
      expect((await machines.run(2, 'ip', '-o', 'link')).stdout).not.toContain('veth');
      expect((await machines.run(2, 'nft', 'list', 'tables')).stdout).not.toContain('midship');
      await until(async () => !(await machines.run(1, 'ip', 'route')).stdout.includes('10.42.1.0'), {
        what: 'the server forgets the route',
      });
      directories.length = 1;
    });
  },
);
