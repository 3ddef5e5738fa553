import { appendFileSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Etcd } from '../../support/etcd.ts';
import type { Stage, StageServer } from './stage.ts';

/** A way to break a stage. */
export interface Fault {
  readonly name: string;
  /** Share of the draws, compared with the others. */
  readonly weight: number;
  /** The part that it breaks for a time: two faults of one part would heal each other. */
  readonly touches?: 'server' | 'member' | 'network' | 'disk' | 'clock';
  appliesTo(stage: Stage): boolean;
  /** Begins it. */
  start(stage: Stage, random: () => number): Promise<Broken>;
}

export interface Broken {
  /** The broken part, for the history. */
  readonly detail: string;
  /** Time until it is healed. */
  readonly lastsMs: number;
  heal(): Promise<void>;
}

const nothing = async (): Promise<void> => undefined;
const anyServer = ({ servers }: Stage, random: () => number): StageServer => servers[Math.floor(random() * servers.length)] as StageServer;
const anyMember = ({ topology }: Stage, random: () => number): number => Math.floor(random() * topology.members);
const hasEtcd = ({ etcd }: Stage): boolean => etcd !== undefined;
const always = (): boolean => true;

/** Breaks one server, which is drawn first. */
const onServer =
  (breakServer: (server: StageServer, random: () => number) => Promise<Omit<Broken, 'detail'> & Partial<Broken>>): Fault['start'] =>
  async (stage, random) => {
    const server = anyServer(stage, random);
    return { detail: `server ${server.index}`, ...(await breakServer(server, random)) };
  };

const killServer: Fault = {
  name: 'kill -9 of a server',
  weight: 3,
  touches: 'server',
  appliesTo: always,
  start: onServer(async (server, random) => {
    await server.kill();
    return { lastsMs: random() * 500, heal: () => server.restart() };
  }),
};

const haltServer: Fault = {
  name: 'SIGSTOP of a server',
  weight: 2,
  touches: 'server',
  appliesTo: always,
  start: onServer(async (server, random) => {
    server.signal('SIGSTOP');
    // Longer than a client waits, from time to time.
    return { lastsMs: 300 + random() ** 2 * 5_000, heal: async () => server.signal('SIGCONT') };
  }),
};

const cutClients: Fault = {
  name: 'connections of clients cut',
  weight: 3,
  appliesTo: always,
  start: onServer(async ({ front }) => {
    front.cut();
    return { lastsMs: 0, heal: nothing };
  }),
};

const cutStore: Fault = {
  name: 'connections to etcd cut',
  weight: 4,
  appliesTo: hasEtcd,
  start: onServer(async ({ back }) => {
    for (const proxy of back) proxy.cut();
    return { lastsMs: 0, heal: nothing };
  }),
};

const partition: Fault = {
  name: 'server without etcd',
  weight: 2,
  touches: 'network',
  appliesTo: hasEtcd,
  start: onServer(async ({ back }, random) => {
    for (const proxy of back) proxy.hold();
    const heal = async (): Promise<void> => {
      for (const proxy of back) proxy.release();
    };
    return { lastsMs: 200 + random() ** 2 * 6_000, heal };
  }),
};

const stepClock: Fault = {
  name: 'clock step',
  weight: 1,
  touches: 'clock',
  appliesTo: ({ servers }) => servers.some(({ time }) => time !== undefined),
  start: onServer(async ({ index, time }, random) => {
    const hours = random() * 4 - 2;
    time?.moveTo(hours / 24);
    // The step back is another one.
    return { detail: `server ${index} by ${hours.toFixed(2)} h`, lastsMs: random() * 2_000, heal: async () => time?.moveTo(0) };
  }),
};

/** Leaves nothing of a small disk, for as long as it lasts. */
const fillDisk: Fault = {
  name: 'full disk',
  weight: 2,
  touches: 'disk',
  appliesTo: ({ disk, topology }) => disk !== undefined && topology.store === 'sqlite',
  async start({ disk = '' }, random) {
    const others = join(disk, 'others');
    const leaveBytes = random() < 0.5 ? 0 : Math.floor(random() * 2 * 1024 * 1024);
    const freeBytes = (): number => statfsSync(disk).bavail * statfsSync(disk).bsize;
    for (const size of [1024 * 1024, 4096]) {
      try {
        while (freeBytes() - size >= leaveBytes) appendFileSync(others, Buffer.alloc(size));
      } catch (err) {
        if ((err as NodeJS.ErrnoException).code !== 'ENOSPC') throw err;
      }
    }
    return { detail: `${leaveBytes} bytes left`, lastsMs: 500 + random() * 2_500, heal: async () => rmSync(others, { force: true }) };
  },
};

const compact: Fault = {
  name: 'compaction of etcd to its newest revision',
  weight: 2,
  appliesTo: hasEtcd,
  async start({ etcd }) {
    const revision = await newestRevision(etcd as Etcd);
    await (etcd as Etcd).ctl(0, 'compact', String(revision)).catch(() => '');
    return { detail: `revision ${revision}`, lastsMs: 0, heal: nothing };
  },
};

async function newestRevision(etcd: Etcd): Promise<number> {
  const text = await etcd.ctl(0, 'get', 'none', '--write-out=json').catch(() => '{"header":{"revision":1}}');
  return (JSON.parse(text) as { header: { revision: number } }).header.revision;
}

const killLeader: Fault = {
  name: 'kill -9 of the leader of etcd',
  weight: 2,
  touches: 'member',
  appliesTo: hasEtcd,
  async start({ etcd, topology }, random) {
    const leader = await leaderOf(etcd as Etcd, topology.members);
    await etcd?.signal(leader, 'SIGKILL');
    return { detail: `member ${leader}`, lastsMs: random() * 1_500, heal: async () => etcd?.restart(leader) };
  },
};

/** The first one when nobody knows of a leader. */
async function leaderOf(etcd: Etcd, members: number): Promise<number> {
  for (let member = 0; member < members; member += 1) {
    const text = await etcd.ctl(member, 'endpoint', 'status', '--write-out=fields').catch(() => '');
    const field = (name: string): string | undefined => new RegExp(`"${name}" : (\\S+)`).exec(text)?.[1];
    if (field('MemberID') !== undefined && field('MemberID') === field('Leader')) return member;
  }
  return 0;
}

const haltMember: Fault = {
  name: 'SIGSTOP of a member of etcd',
  weight: 2,
  touches: 'member',
  appliesTo: hasEtcd,
  async start(stage, random) {
    const member = anyMember(stage, random);
    await stage.etcd?.signal(member, 'SIGSTOP');
    return { detail: `member ${member}`, lastsMs: 300 + random() ** 2 * 3_000, heal: async () => stage.etcd?.signal(member, 'SIGCONT') };
  },
};

const replaceMember: Fault = {
  name: 'member of etcd replaced',
  weight: 1,
  touches: 'member',
  appliesTo: ({ topology }) => topology.members >= 3,
  async start(stage, random) {
    const member = anyMember(stage, random);
    // etcd refuses it while a member is out of reach: the cluster might lose its majority.
    const detail = await (stage.etcd as Etcd).replace(member).then(
      () => `member ${member}`,
      (err: Error) => `member ${member}: refused: ${err.message.slice(0, 200)}`,
    );
    return { detail, lastsMs: 0, heal: nothing };
  },
};

const faults: readonly Fault[] = [
  ...[killServer, haltServer, cutClients, cutStore, partition, stepClock],
  ...[fillDisk, compact, killLeader, haltMember, replaceMember],
];

const maxPauseMs = 900;

export interface FaultOptions {
  readonly random: () => number;
  readonly isOver: () => boolean;
  /** Calls that were answered so far. */
  readonly answered: () => number;
}

/** Answers between two faults of one lane: a stage that is always broken answers nothing that could be wrong. */
const answersBetween = 25;

/** Breaks a stage until `isOver`, now and then two ways at once, and heals it. Counts the faults by name. */
export async function runFaults(stage: Stage, { random, isOver, answered }: FaultOptions): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  const broken = new Set<Fault['touches']>();
  const applicable = faults.filter((fault) => fault.appliesTo(stage));

  async function runLane(pauseFactor: number): Promise<void> {
    while (!isOver()) {
      await sleep((100 + random() * maxPauseMs) * pauseFactor);
      const fault = draw(applicable, random);
      if (isOver() || (fault.touches !== undefined && broken.has(fault.touches))) continue;
      broken.add(fault.touches);
      const { detail, lastsMs, heal } = await fault.start(stage, random);
      stage.history.append({ type: 'fault', name: fault.name, detail, at: performance.now() });
      counts.set(fault.name, (counts.get(fault.name) ?? 0) + 1);
      await sleep(lastsMs);
      await heal();
      broken.delete(fault.touches);
      for (const until = answered() + answersBetween; answered() < until && !isOver(); ) await sleep(20);
    }
  }

  await Promise.all([runLane(1), runLane(2)]);
  return counts;
}

function draw(from: readonly Fault[], random: () => number): Fault {
  let left = random() * from.reduce((sum, { weight }) => sum + weight, 0);
  for (const fault of from) {
    left -= fault.weight;
    if (left < 0) return fault;
  }
  return from[0] as Fault;
}
