import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLog } from '../../../../src/base/log.ts';
import { type Peer, removeHostRoutes, syncRoutes } from '../../../../src/node-agent/network/host-routes.ts';
import { createIpCommands, type IpCommands } from '../../../../src/node-agent/network/ip-commands.ts';
import { openWireguardKey } from '../../../../src/node-agent/network/wireguard.ts';
import { run } from '../../../support/cluster.ts';
import { temporaryDirectory } from '../../../support/git.ts';

const prefix = `msvx${process.pid}`;
const netns = (name: string): string => `${prefix}-${name}`;
/** Two machines share a segment, and the third one is behind a router. */
const machines = {
  a: { nodeAddress: '10.201.1.1', podCidr: '10.42.1.0/24', pod: '10.42.1.9' },
  b: { nodeAddress: '10.201.1.2', podCidr: '10.42.2.0/24', pod: '10.42.2.9' },
  far: { nodeAddress: '10.201.2.1', podCidr: '10.42.3.0/24', pod: '10.42.3.9' },
} as const;
type Machine = keyof typeof machines;
const names = Object.keys(machines) as Machine[];

async function succeed(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout;
}
const inside = (name: string, program: string, ...args: string[]): Promise<string> =>
  succeed('nsenter', `--net=/run/netns/${netns(name)}`, program, ...args);
const commandsOf = (name: string): IpCommands => createIpCommands((program, args) => inside(name, program, ...args));

async function whyNot(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'no root';
  const probe = 'command -v bridge bash && ip link add probe0 type vxlan id 9 dstport 8472 && echo made';
  const { code, stderr } = await run('unshare', ['-n', 'sh', '-c', probe]).catch(() => ({ code: 1, stderr: 'no unshare' }));
  return code === 0 ? undefined : `the kernel makes no VXLAN device: ${stderr.trim()}`;
}
const why = await whyNot();

async function whyNotWireguard(): Promise<string | undefined> {
  const probe = 'command -v wg && { ip link add probe0 type wireguard || command -v wireguard-go; }';
  const { code } = await run('unshare', ['-n', 'sh', '-c', probe]).catch(() => ({ code: 1 }));
  return code === 0 ? undefined : 'there is no wg, or neither the kernel nor wireguard-go makes a device';
}
const whyNoWireguard = why ?? (await whyNotWireguard());

describe.skipIf(why !== undefined)(
  `routes to pods of other machines (needs root and VXLAN${why === undefined ? '' : `: ${why}`})`,
  { timeout: 60_000, shuffle: false },
  () => {
    const servers: ChildProcess[] = [];
    const log = createLog({ level: 'silent' });
    const sync = (name: Machine, peers: readonly Machine[], backend: 'vxlan' | 'host-gw' = 'vxlan'): Promise<void> =>
      syncRoutes(
        { backend, ...machines[name] },
        peers.map((peer) => machines[peer]),
        { commands: commandsOf(name), log },
      );
    /** The address that the pod of `to` sees. */
    const call = (from: Machine, to: Machine): Promise<string> =>
      inside(from, 'timeout', '5', 'bash', '-c', `exec 3<>/dev/tcp/${machines[to].pod}/8080 && cat <&3`).then((text) => text.trim());

    /** Programs of a machine. The sockets of wireguard-go are files, so each machine has such a directory of its own. */
    async function privateCommands(name: Machine): Promise<IpCommands> {
      const hold = 'mkdir -p /run/wireguard && mount -t tmpfs wireguard /run/wireguard && echo up && exec sleep 300';
      const child = spawn('nsenter', [`--net=/run/netns/${netns(name)}`, 'unshare', '-m', 'sh', '-c', hold], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      servers.push(child);
      await once(createInterface({ input: child.stdout }), 'line');
      return createIpCommands((program, args) => succeed('nsenter', '-t', String(child.pid), '-n', '-m', program, ...args));
    }

    beforeAll(async () => {
      await succeed('ip', 'netns', 'add', netns('router'));
      await inside('router', 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
      await inside('router', 'ip', 'link', 'add', 'near', 'type', 'bridge');
      await inside('router', 'ip', 'addr', 'add', '10.201.1.254/24', 'dev', 'near');
      await inside('router', 'ip', 'link', 'set', 'near', 'up');
      for (const name of names) {
        await succeed('ip', 'netns', 'add', netns(name));
        const cable = `cable-${name}`;
        await succeed('ip', 'link', 'add', cable, 'netns', netns('router'), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns(name));
        if (name === 'far') await inside('router', 'ip', 'addr', 'add', '10.201.2.254/24', 'dev', cable);
        else await inside('router', 'ip', 'link', 'set', cable, 'master', 'near');
        await inside('router', 'ip', 'link', 'set', cable, 'up');
        await inside(name, 'ip', 'addr', 'add', `${machines[name].nodeAddress}/24`, 'dev', 'eth0');
        for (const link of ['lo', 'eth0']) await inside(name, 'ip', 'link', 'set', link, 'up');
        await inside(name, 'ip', 'route', 'add', 'default', 'via', name === 'far' ? '10.201.2.254' : '10.201.1.254');
        await inside(name, 'ip', 'addr', 'add', `${machines[name].pod}/32`, 'dev', 'lo');
        const server = `require('net').createServer((s) => s.on('error', () => {}).end(s.remoteAddress + '\\n')).listen(8080, '0.0.0.0', () => console.log('up'))`;
        const child = spawn('nsenter', [`--net=/run/netns/${netns(name)}`, process.execPath, '-e', server], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        servers.push(child);
        await once(createInterface({ input: child.stdout }), 'line');
      }
    }, 60_000);
    afterAll(async () => {
      for (const child of servers) child.kill('SIGKILL');
      // A program in place of the kernel ends with its device, and would keep the namespace.
      for (const name of names) await removeHostRoutes(commandsOf(name)).catch(() => undefined);
      for (const name of [...names, 'router']) await run('ip', ['netns', 'delete', netns(name)]);
    });

    it('lead directly where the segment is shared, and through VXLAN behind a router', async () => {
      for (const name of names)
        await sync(
          name,
          names.filter((each) => each !== name),
        );
      expect(await call('a', 'b')).toBe('10.201.1.1');
      // The address of the device of a.
      expect(await call('a', 'far')).toBe('10.42.1.0');
      expect(await call('far', 'b')).toBe('10.42.3.0');
      expect(await inside('a', 'ip', 'link', 'show', 'midship-vxlan')).toContain('mtu 1450');
    });

    it('stay as they are when nothing changes, come back when they were lost, and follow a machine that moves', async () => {
      const listing = (): Promise<string> =>
        inside('a', 'sh', '-c', 'ip route; bridge fdb show dev midship-vxlan; ip neigh show nud permanent');
      const before = await listing();
      await sync('a', ['b', 'far']);
      expect(await listing()).toBe(before);
      await inside('a', 'ip', 'link', 'set', 'eth0', 'down');
      await inside('a', 'ip', 'link', 'set', 'eth0', 'up');
      await inside('a', 'ip', 'route', 'replace', 'default', 'via', '10.201.1.254');
      await inside('a', 'ip', 'link', 'del', 'midship-vxlan');
      await sync('a', ['b', 'far']);
      expect([await call('a', 'b'), await call('a', 'far')]).toEqual(['10.201.1.1', '10.42.1.0']);
      const moved = { ...machines.far, nodeAddress: '10.201.2.7' };
      await syncRoutes({ backend: 'vxlan', ...machines.a }, [machines.b, moved], { commands: commandsOf('a'), log });
      expect(await inside('a', 'bridge', 'fdb', 'show', 'dev', 'midship-vxlan')).toMatch(/^0a:58:0a:2a:03:00 dst 10\.201\.2\.7 /);
    });

    it('are refused by host-gw behind a router, others being set, and leave nothing behind', async () => {
      await removeHostRoutes(commandsOf('a'));
      expect(await inside('a', 'ip', 'route')).not.toContain('10.42.');
      expect(await inside('a', 'ip', 'link')).not.toContain('midship');
      await expect(sync('a', ['far', 'b'], 'host-gw')).rejects.toThrow('ip route replace 10.42.3.0/24');
      expect(await call('a', 'b')).toBe('10.201.1.1');
      await sync('a', [], 'host-gw');
      expect(await inside('a', 'ip', 'route')).not.toContain('10.42.');
      // Nothing was there to be removed any more.
      await removeHostRoutes(commandsOf('a'));
    });

    it.skipIf(whyNoWireguard !== undefined)(
      `encrypt every packet to another machine, and let none pass without a key (needs wg, and wireguard-go or a kernel with WireGuard)`,
      async () => {
        for (const name of names) await removeHostRoutes(commandsOf(name));
        const directory = await temporaryDirectory('wireguard');
        const all = new Map(
          await Promise.all(
            names.map(async (name) => {
              const key = await openWireguardKey(join(directory, name));
              return [name, { key, commands: await privateCommands(name) }] as const;
            }),
          ),
        );
        const peerOf = (name: Machine): Peer => ({ ...machines[name], publicKey: all.get(name)?.key.publicKey ?? '' });
        const encrypt = async (name: Machine, peers: readonly Peer[]): Promise<void> => {
          const { key, commands = commandsOf(name) } = all.get(name) ?? {};
          await syncRoutes({ backend: 'wireguard', ...machines[name], ...(key === undefined ? {} : { key }) }, peers, { commands, log });
        };
        for (const name of names) await encrypt(name, names.filter((each) => each !== name).map(peerOf));
        const plain = 'add table ip seen; add chain ip seen packets { type filter hook forward priority 0; }; ';
        await inside(
          'router',
          'nft',
          `${plain} add rule ip seen packets ip daddr 10.42.0.0/16 counter; add rule ip seen packets udp dport 51820 counter`,
        );
        expect([await call('a', 'b'), await call('a', 'far'), await call('far', 'b')]).toEqual(['10.42.1.0', '10.42.1.0', '10.42.3.0']);
        const counters = (await inside('router', 'nft', 'list', 'table', 'ip', 'seen')).match(/packets \d+/g);
        expect(counters?.[0]).toBe('packets 0');
        expect(counters?.[1]).not.toBe('packets 0');
        expect(await inside('a', 'ip', 'link', 'show', 'midship-wg')).toContain('mtu 1420');
        // The same again disturbs nothing; a machine that lost its key is not reached, and never in the clear.
        await encrypt('a', [peerOf('b'), { ...machines.far }]);
        expect(await call('a', 'b')).toBe('10.42.1.0');
        expect(await inside('a', 'ip', 'route')).not.toContain('10.42.3.0');
        for (const [name, { commands }] of all) {
          await removeHostRoutes(commands);
          expect(await inside(name, 'ip', 'link')).not.toContain('midship');
          expect(await inside(name, 'ip', 'route')).not.toContain('10.42.');
        }
      },
    );
  },
);
