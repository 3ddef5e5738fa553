import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { busyboxArchive, busyboxImage, whyNoContainerd } from '../support/containerd.ts';
import { hasEtcd } from '../support/etcd.ts';
import { temporaryDirectory } from '../support/git.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { type MachineProcess, Machines, whyNoMachines } from '../support/machines.ts';
import { firstToken } from '../support/servers.ts';
import { until } from '../support/until.ts';

const whyNot = hasKubectl && hasEtcd ? (whyNoMachines ?? whyNoContainerd) : 'kubectl or etcd is not installed';
const agentNumber = 3;

const pod = (name: string): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name} }
spec:
  nodeName: third
  terminationGracePeriodSeconds: 0
  containers: [{ name: main, image: "${busyboxImage}", imagePullPolicy: IfNotPresent, command: [sleep, "600"] }]
`;

describe.skipIf(whyNot !== undefined)(
  `an agent of two servers on one etcd (skipped where containers cannot run: ${whyNot ?? 'they can here'})`,
  () => {
    const machines = new Machines('first', 'second', 'third');
    const directories: string[] = [];
    const servers: MachineProcess[] = [];
    let stopEtcd = (): void => undefined;
    const kubectl = async (n: number, ...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await machines.run(
        n,
        'kubectl',
        '--kubeconfig',
        join(directories[n - 1] ?? '', 'kubeconfig'),
        ...args,
      );
      if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
      return stdout;
    };

    beforeAll(async () => {
      await machines.create();
      for (const name of ['first', 'second', 'third']) directories.push(await temporaryDirectory(name));
      const etcdDirectory = await temporaryDirectory('etcd');
      const url = `http://${machines.address(1)}:2379`;
      const flags = ['--data-dir', etcdDirectory, '--listen-client-urls', url, '--advertise-client-urls', url, '--unsafe-no-fsync'];
      const file = join(etcdDirectory, 'pid');
      void machines.run(1, 'sh', '-c', `echo $$ > ${file}; exec etcd "$@"`, 'sh', ...flags);
      stopEtcd = () => process.kill(Number(readFileSync(file, 'utf8')), 'SIGKILL');
      const store = ['--store', `etcd://${machines.address(1)}:2379`, '--store-insecure', '--token', firstToken];
      for (const n of [1, 2]) {
        servers.push(await machines.start(n, directories[n - 1] ?? '', 'server', ...store, '--disable', 'node,ingress,servicelb'));
      }
      const own = directories[agentNumber - 1] ?? '';
      await mkdir(join(own, 'images'), { recursive: true });
      await writeFile(join(own, 'images', 'busybox.tar'), await busyboxArchive());
      const server = ['--server', `https://${machines.address(1)}:6443`, '--token-file', join(directories[0] ?? '', 'token')];
      await machines.start(agentNumber, own, 'agent', ...server, '--disable', 'ingress');
    }, 90_000);
    afterAll(async () => {
      await machines.midship(agentNumber, 'down', '--purge', '--yes', '--data-dir', directories[agentNumber - 1] ?? '');
      for (const each of servers) await each.kill().catch(() => undefined);
      stopEtcd();
      await machines.remove();
    }, 60_000);

    it('goes on by the other server when the one that it uses is killed', { timeout: 60_000 }, async () => {
      const phaseOf = (n: number, name: string) => kubectl(n, 'get', 'pod', name, '-o', 'jsonpath={.status.phase}');
      const run = async (n: number, name: string): Promise<void> => {
        const manifest = join(directories[0] ?? '', `${name}.yaml`);
        await writeFile(manifest, pod(name));
        await kubectl(n, 'apply', '-f', manifest);
        await until(async () => (await phaseOf(n, name)) === 'Running', { what: `${name} runs`, timeoutMs: 30_000 });
      };
      await run(1, 'before');
      const { stdout } = await machines.run(agentNumber, 'ss', '-Htn', 'state', 'established', 'dport', '=', ':6443');
      const used = stdout.includes(`${machines.address(1)}:6443`) ? 1 : 2;
      expect(stdout).toContain(`${machines.address(used)}:6443`);
      const other = 3 - used;
      const condition = '{range .status.conditions[?(@.type=="Ready")]}{.status} {.lastTransitionTime}{end}';
      const ready = () => kubectl(other, 'get', 'node', 'third', '-o', `jsonpath=${condition}`);
      const renewed = () => kubectl(other, 'get', 'lease', '-n', 'kube-node-lease', 'third', '-o', 'jsonpath={.spec.renewTime}');
      const readyBefore = await ready();
      expect(readyBefore).toMatch(/^True /);
      await servers[used - 1]?.kill();
      const renewedBefore = await renewed();
      await run(other, 'after');
      await until(async () => (await renewed()) !== renewedBefore, { what: 'the agent renews its Lease', timeoutMs: 20_000 });
      expect(await ready()).toBe(readyBefore);
      expect(await phaseOf(other, 'before')).toBe('Running');
    });
  },
);
