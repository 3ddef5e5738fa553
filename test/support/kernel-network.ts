import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { NftFrame } from '../../src/base/nft/rules.ts';
import { whyNoNft } from '../../src/base/nft/run-program.ts';
import { run } from './cluster.ts';

/** A node and what it is connected to, each in a network namespace of its own, as a ptp network has them. */
export class KernelNetwork {
  readonly #prefix: string;
  readonly #names: string[] = [];

  /** @param prefix  tells the namespaces of a test file from those of others */
  constructor(prefix: string) {
    this.#prefix = `${prefix}${process.pid}`;
  }

  /** Makes the namespace `node`, a router. */
  async create(): Promise<void> {
    await this.#add('node');
    await this.inside('node', 'ip', 'link', 'set', 'lo', 'up');
    await this.inside('node', 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
  }

  /** Connects a pod or a client to the node by a link with that name there. `gateway` is the node's address on it. */
  async connect(name: string, address: string, { link, gateway }: { readonly link: string; readonly gateway: string }): Promise<void> {
    await this.#add(name);
    const [node, other] = [this.path('node'), this.path(name)];
    await succeed('ip', 'link', 'add', link, 'netns', node, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', other);
    for (const command of [`addr add ${gateway}/32 dev ${link}`, `link set ${link} up`, `route add ${address} dev ${link} src ${gateway}`])
      await this.inside('node', 'ip', ...command.split(' '));
    for (const command of [
      `addr add ${address}/32 dev eth0`,
      'link set lo up',
      'link set eth0 up',
      `route add ${gateway} dev eth0 scope link`,
      `route add default via ${gateway}`,
    ])
      await this.inside(name, 'ip', ...command.split(' '));
  }

  async remove(): Promise<void> {
    for (const name of this.#names) await run('ip', ['netns', 'delete', this.path(name)]);
  }

  /** Name of the namespace on this machine. */
  path(name: string): string {
    return `${this.#prefix}-${name.replace('/', '')}`;
  }

  /** Words before a command that is to run in the namespace. */
  entry(name: string): readonly [string, string] {
    return ['nsenter', `--net=/run/netns/${this.path(name)}`];
  }

  /** Runs a program in the namespace. Its output, or a rejection with what it complained about. */
  inside(name: string, program: string, ...args: string[]): Promise<string> {
    const [enter, where] = this.entry(name);
    return succeed(enter, where, program, ...args);
  }

  /** The same in the node, with an input. */
  readonly runInNode = (program: string, args: readonly string[], input = ''): Promise<string> => {
    const [enter, where] = this.entry('node');
    return runWithInput(enter, [where, program, ...args], input);
  };

  async #add(name: string): Promise<void> {
    await succeed('ip', 'netns', 'add', this.path(name));
    this.#names.unshift(name);
  }
}

/** The output of a program that reads `input`, or a rejection with what it complained about. */
async function runWithInput(program: string, args: readonly string[], input: string): Promise<string> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => (output += part));
  child.stderr.setEncoding('utf8').on('data', (part: string) => (complaint += part));
  // A program that ends without reading says why on stderr.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number];
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}: ${complaint}\n${input}`);
  return output;
}

async function succeed(program: string, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** The reason for which such tests cannot run here; undefined where they can. */
export async function whyNoKernelNetwork(frame: NftFrame): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'no root';
  const { code } = await run('sh', ['-c', 'command -v nft ip nsenter bash']).catch(() => ({ code: 1 }));
  return code === 0 ? whyNoNft(frame) : 'no nft, ip, nsenter and bash';
}
