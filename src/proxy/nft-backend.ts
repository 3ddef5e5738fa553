import { execFile, spawn } from 'node:child_process';
import { BlockList } from 'node:net';
import { promisify } from 'node:util';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { buckets, type Metrics } from '../base/metrics.ts';
import type { ProxyBackend } from './backend.ts';
import { isListingOf, type NftRules, type NftTable, noRules, rulesOf, writeChange, writeRemoval, writeTable } from './nft-rules.ts';
import { anyNodeAddress, type Forward, forwardKey } from './table.ts';

/** Runs a program with `input`, and gives its output. Rejects with what it wrote to stderr when it fails. */
export type RunProgram = (program: string, args: readonly string[], input?: string) => Promise<string>;

export interface NftBackendOptions {
  readonly table: NftTable;
  readonly nodeName: string;
  readonly run?: RunProgram;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Between two transactions: a rollout of many pods is some of them, and an endpoint that ends still answers for longer than that. */
const minIntervalMs = 100;
const retryMs = 5_000;
/** Between two looks for changes by others. */
const lookMs = 30_000;
const programTimeoutMs = 30_000;
const maxOutputBytes = 64 * 1024 * 1024;
/** Connections of UDP that are forgotten after one transaction. */
const maxForgotten = 256;

/**
 * Leads connections to Services by rules of the kernel, as kube-proxy does in its nftables mode. They keep their speed, and the address of
 * their client. All rules are in one table, which is changed by one transaction for each batch of changes and is never seen half done.
 *
 * @see KEP-3866
 */
export function createNftBackend({ table, nodeName, run = runProgram, clock, log, metrics }: NftBackendOptions): ProxyBackend {
  const desired = new Map<string, readonly Forward[]>();
  /** Undefined when the kernel may have anything: the next transaction makes the whole table. */
  let applied: { readonly rules: NftRules; readonly forwards: readonly Forward[] } | undefined;
  let waiting: (() => void)[] = [];
  let working: Promise<void> | undefined;
  let cancelTimer = (): void => undefined;
  let endedMs = Number.NEGATIVE_INFINITY;
  let isFailing = false;
  let stopped = false;
  let cancelLook = (): void => undefined;

  const own = new BlockList();
  for (const range of [table.podCidr, table.serviceCidr, '127.0.0.0/8', '0.0.0.0/8']) {
    const [address = '', bits] = range.split('/');
    own.addSubnet(address, Number(bits));
  }

  const durations = metrics.histogram({
    name: 'kubeproxy_sync_proxy_rules_duration_seconds',
    help: 'Time of a transaction that brings the rules of Services up to date.',
    labelNames: [],
    buckets: buckets.store,
  });
  const failures = metrics.counter({
    name: 'kubeproxy_sync_proxy_rules_nftables_sync_failures_total',
    help: 'Transactions with rules of Services that the kernel refused.',
    labelNames: [],
  });

  function schedule(delayMs: number): void {
    cancelTimer();
    cancelTimer = clock.after(delayMs, () => {
      if (working !== undefined || stopped) return;
      working = applyBatch().finally(() => {
        working = undefined;
        if (waiting.length > 0 && !stopped) schedule(minIntervalMs);
      });
    });
  }

  /** Never rejects. */
  async function applyBatch(): Promise<void> {
    const resolvers = waiting;
    waiting = [];
    const forwards = [...desired.values()].flat();
    const rules = rulesOf(forwards, table);
    const before = applied;
    const text = before === undefined ? writeTable(table, rules) : writeChange(table, before.rules, rules);
    const startedMs = clock.monotonicMs();
    try {
      if (text !== '') await run('nft', ['-f', '-'], text);
      applied = { rules, forwards };
      isFailing = false;
      await forgetConnections(before?.forwards ?? [], forwards);
    } catch (err) {
      failures.inc({});
      if (!isFailing) log.error({ err, table: table.name }, 'Could not change the rules of Services');
      isFailing = true;
      applied = undefined;
      if (!stopped) schedule(retryMs);
    }
    endedMs = clock.monotonicMs();
    durations.observe({}, (endedMs - startedMs) / 1_000);
    for (const resolve of resolvers) resolve();
  }

  /** UDP knows no end of a connection: without this, packets of a client follow an endpoint that is gone for as long as it sends. */
  async function forgetConnections(before: readonly Forward[], after: readonly Forward[]): Promise<void> {
    const now = new Map(after.map((forward) => [forwardKey(forward), forward]));
    const stale: (readonly string[])[] = [];
    for (const forward of before) {
      if (forward.protocol !== 'UDP') continue;
      const left = new Set((now.get(forwardKey(forward))?.endpoints ?? []).map(forwardKey));
      for (const endpoint of forward.endpoints)
        if (!left.has(forwardKey(endpoint))) stale.push([...connectionsTo(forward), '--dst-nat', endpoint.address]);
    }
    const had = new Map(before.map((forward) => [forwardKey(forward), forward.endpoints.length]));
    // Packets that came before there was an endpoint made connections to the address itself.
    for (const forward of after)
      if (forward.protocol === 'UDP' && forward.endpoints.length > 0 && (had.get(forwardKey(forward)) ?? 0) === 0)
        stale.push(connectionsTo(forward));
    for (const args of stale.slice(0, maxForgotten)) {
      // It fails when there is none, and where it is not installed connections end by their time.
      await run('conntrack', ['-D', '-p', 'udp', ...args]).catch(() => undefined);
    }
  }

  async function look(): Promise<void> {
    if (working === undefined && applied !== undefined && waiting.length === 0) {
      const { rules } = applied;
      const isIntact = await run('nft', ['-j', 'list', 'table', 'ip', table.name]).then(
        (listing) => isListingOf(listing, table, rules),
        () => false,
      );
      // The listing may be older than a transaction that began meanwhile.
      if (!isIntact && applied?.rules === rules && working === undefined && !stopped) {
        log.warn({ table: table.name }, 'Wrote the rules of Services again, which somebody else had changed');
        applied = undefined;
        schedule(0);
      }
    }
    if (!stopped) scheduleLook();
  }
  const scheduleLook = (): void => {
    cancelLook = clock.after(lookMs, () => void look());
  };
  scheduleLook();

  return {
    abilities: { protocols: ['TCP', 'UDP', 'SCTP'], nodeName, servesAddress: (address) => !own.check(address) },
    set(service, forwards) {
      if (forwards.length === 0 && !desired.has(service)) return Promise.resolve();
      if (forwards.length === 0) desired.delete(service);
      else desired.set(service, forwards);
      return new Promise((resolve) => {
        waiting.push(resolve);
        if (working === undefined) schedule(Math.max(0, endedMs + minIntervalMs - clock.monotonicMs()));
      });
    },
    get serving() {
      return (applied?.forwards ?? []).map(forwardKey);
    },
    async stop() {
      stopped = true;
      cancelTimer();
      cancelLook();
      for (const resolve of waiting.splice(0)) resolve();
      await working;
      await removeNftTable(table, run);
      applied = { rules: noRules, forwards: [] };
    },
  };
}

const connectionsTo = ({ address, port }: Forward): readonly string[] => [
  ...(address === anyNodeAddress ? [] : ['--orig-dst', address]),
  '--orig-port-dst',
  String(port),
];

/** Removes the table, as after a crash; none is no failure. @throws Error with what `nft` says */
export async function removeNftTable(table: Pick<NftTable, 'name'>, run: RunProgram = runProgram): Promise<void> {
  await run('nft', ['-f', '-'], writeRemoval(table));
}

/** Tries the table out without making it. @returns why rules cannot be used here; undefined when they can */
export async function whyNoNft(table: NftTable, run: RunProgram = runProgram): Promise<string | undefined> {
  try {
    await run('nft', ['-c', '-f', '-'], writeTable(table, noRules));
    return undefined;
  } catch (err) {
    return (err as NodeJS.ErrnoException).code === 'ENOENT' ? 'the program nft is not installed' : (err as Error).message;
  }
}

const execute = promisify(execFile);

async function runProgram(program: string, args: readonly string[], input?: string): Promise<string> {
  const options = { timeout: programTimeoutMs, maxBuffer: maxOutputBytes };
  if (input === undefined) return (await execute(program, args, options)).stdout;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'pipe'], timeout: programTimeoutMs });
    let complaint = '';
    child.stderr.setEncoding('utf8').on('data', (part: string) => {
      complaint = `${complaint}${part}`.slice(0, 2_000);
    });
    child.once('error', reject);
    child.once('close', (code) => (code === 0 ? resolve('') : reject(new Error(`${program} ended with ${code}: ${complaint.trim()}`))));
    // A program that ends before it has read everything says why on stderr.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}
