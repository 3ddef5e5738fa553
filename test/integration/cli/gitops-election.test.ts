import { rm } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { leases } from '../../../src/api/coordination/v1/lease.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import type { AuditEntry, AuditLog } from '../../../src/apiserver/audit.ts';
import type { Clock } from '../../../src/base/clock.ts';
import { engineLease, type ForeignElection, type ForeignEngine } from '../../../src/cli/compose/foreign-engine.ts';
import { runGitOps } from '../../../src/cli/gitops.ts';
import type { Client } from '../../../src/client/client.ts';
import type { TestApiServer } from '../../support/api-server.ts';
import { appReadyAt, createApp, followRepository, foreignCluster, openWire, startForeign } from '../../support/foreign-engine.ts';
import { newRepository, temporaryDirectory, type WorkTree } from '../../support/git.ts';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const cleanups: (() => Promise<unknown>)[] = [];
const cleanup = (undo: () => Promise<unknown>): void => void cleanups.push(undo);
afterEach(async () => {
  for (const undo of cleanups.splice(0).reverse()) await undo();
});

const mapOf = (text: string) => ({
  'web/a.yaml': `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: "${text}"}\n`,
});

/** Every request that was answered. */
function recordingAudit(): AuditLog & { readonly entries: AuditEntry[] } {
  const entries: AuditEntry[] = [];
  return {
    name: 'audit',
    entries,
    policy: { decide: () => ({ level: 'Metadata', omitStages: [], omitManagedFields: false, isRedacted: false, onlyFailures: false }) },
    record(entry) {
      if (entry.stage === 'ResponseComplete') entries.push(entry);
    },
    start: async () => undefined,
    stop: async () => undefined,
  };
}

interface Member {
  readonly clock: ManualClock;
  /** Number of times that it went to sleep until its next look at the lease. */
  readonly naps: () => number;
  readonly standby: { readonly holder: string; readonly url: string }[];
  readonly election: ForeignElection;
}

function member(identity: string): Member {
  const clock = createManualClock();
  let naps = 0;
  const counted: Clock = {
    ...clock,
    after(delayMs, action) {
      // A request is given 5 s.
      if (delayMs < 5_000) naps += 1;
      return clock.after(delayMs, action);
    },
  };
  const standby: Member['standby'][number][] = [];
  return { clock, naps: () => naps, standby, election: { identity, clock: counted, onStandby: (seen) => void standby.push(seen) } };
}

async function world(): Promise<{
  readonly server: TestApiServer;
  readonly client: Client;
  readonly audit: ReturnType<typeof recordingAudit>;
  readonly repository: WorkTree;
}> {
  const audit = recordingAudit();
  const server = await foreignCluster(cleanup, { audit });
  return { server, client: server.client, audit, repository: await newRepository('election', mapOf('1')) };
}

const masterStatus = async (url: string): Promise<string | undefined> =>
  /leader_election_master_status\{name="midship-gitops"\} (\d)/.exec(await (await fetch(`${url}/metrics`)).text())?.[1];

describe('two engines on one cluster', () => {
  it('one waits, takes over when the lease of a cut-off leader ends, and never do both write', async () => {
    const { server, client, audit, repository } = await world();
    const wire = await openWire(server.server.url);
    cleanup(() => wire.stop());
    const a = member('host_a');
    const b = member('host_b');
    const first = await startForeign(server, { cleanup, election: a.election, version: 'a', address: wire.url });
    cleanup(() => first.stop());
    await followRepository(client, repository, cleanup);
    await createApp(client, 'web');
    await appReadyAt(client, 'web', await repository.git('rev-parse', 'HEAD'));

    let second: ForeignEngine | undefined;
    const taken = startForeign(server, { cleanup, election: b.election, version: 'b' }).then((engine) => {
      second = engine;
      cleanup(() => engine.stop());
    });
    const standby = await until(() => b.standby[0], { what: 'the second engine stands by' });
    expect(standby.holder).toBe('host_a');
    expect([await masterStatus(first.url), await masterStatus(standby.url)]).toEqual(['1', '0']);
    expect(await (await fetch(standby.url)).text()).toContain('foreign');

    // The leader is gone without a word: its clock stops, and nothing of it reaches the server.
    wire.cut();
    const sha = await repository.commit('two', mapOf('2'));
    for (let looks = 1; looks <= 2; looks += 1) {
      await until(() => b.naps() === looks, { what: `the second engine waits for the ${looks}. time` });
      b.clock.advance(5_000);
    }
    await until(() => b.naps() === 3, { what: 'the second engine has looked at 10 s' });
    expect(second).toBeUndefined();
    b.clock.advance(5_000);
    await taken;
    expect((await client.get(leases, engineLease)).spec).toMatchObject({ holderIdentity: 'host_b', leaseTransitions: 1 });
    await appReadyAt(client, 'web', sha);
    expect((await client.get(configMaps, { namespace: 'apps', name: 'a' })).data).toEqual({ a: '2' });

    // It comes back, and finds that its time is over before it can do anything.
    a.clock.advance(15_000);
    wire.mend();
    expect(first.lost.aborted).toBe(true);
    // A scrape is answered with the last one for a second.
    await until(async () => (await masterStatus(first.url)) === '0', { what: 'the first engine says that it leads no more' });
    const third = await repository.commit('three', mapOf('3'));
    await appReadyAt(client, 'web', third);
    await first.stop();
    const writes = audit.entries.filter(({ attributes: { verb }, code }) => !['get', 'list', 'watch'].includes(verb) && (code ?? 0) < 300);
    const begun = writes.findIndex(({ userAgent }) => userAgent === 'midship-gitops/b');
    expect(begun).toBeGreaterThan(-1);
    expect(writes.slice(begun).filter(({ userAgent }) => userAgent === 'midship-gitops/a')).toEqual([]);
    expect((await client.get(leases, engineLease)).spec?.holderIdentity).toBe('host_b');
  });

  it('the other one takes over at its next look when the leader stops as it should', async () => {
    const { server, client, repository } = await world();
    const a = member('host_a');
    const b = member('host_b');
    const first = await startForeign(server, { cleanup, election: a.election });
    const taken = startForeign(server, { cleanup, election: b.election });
    await until(() => b.standby[0], { what: 'the second engine stands by' });
    await followRepository(client, repository, cleanup);
    await createApp(client, 'web');
    await appReadyAt(client, 'web', await repository.git('rev-parse', 'HEAD'));
    await first.stop();
    expect((await client.get(leases, engineLease)).spec).toMatchObject({ holderIdentity: '', leaseTransitions: 0 });
    // The retry period with all of its jitter.
    b.clock.advance(4_400);
    const second = await taken;
    cleanup(() => second.stop());
    expect((await client.get(leases, engineLease)).spec).toMatchObject({ holderIdentity: 'host_b', leaseTransitions: 1 });
    await appReadyAt(client, 'web', await repository.commit('two', mapOf('2')));
  });

  it('the command says in one line that it waits, and ends with an error when it has lost the lease', async () => {
    const { server, client } = await world();
    const dataDirectory = await temporaryDirectory('gitops-data');
    cleanup(() => rm(dataDirectory, { recursive: true, force: true }));
    const output = new PassThrough();
    let text = '';
    output.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    const run = (): ReturnType<typeof runGitOps> =>
      runGitOps({
        kubeconfig: server.kubeconfig,
        context: undefined,
        dataDirectory,
        httpPort: 0,
        leaderElect: true,
        logLevel: 'silent',
        output,
        version: '0.0.0',
      });
    const steal = async (holderIdentity: string): Promise<void> => {
      await client.patch(leases, engineLease, { type: 'merge', body: { spec: { holderIdentity, leaseDurationSeconds: 3_600 } } });
    };
    const first = member('host_a');
    const engine = await startForeign(server, { cleanup, election: first.election });
    const ended = run().catch((err: unknown) => err);
    await until(() => text.includes('stands by'), { what: () => text });
    expect(text).toMatch(
      /^ {2}stands by: host_a holds the lease flux-system\/midship-gitops; page and metrics http:\/\/127\.0\.0\.1:\d+$/m,
    );
    expect(text).not.toContain('follows');
    await engine.stop();
    await until(() => text.includes('follows apps'), { what: () => text });
    await steal('host_c');
    expect(await ended).toMatchObject({
      message: 'lease flux-system/midship-gitops is held by host_c',
      fix: 'Start it again, best by a supervisor (systemd, a Deployment): it waits until it can lead.',
    });
    expect((await client.get(leases, engineLease)).spec?.holderIdentity).toBe('host_c');
  });
});
