import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import type { AppOverview, Overview } from '../../../src/base/contracts/overview.ts';
import { thisProcess } from '../../../src/base/process-identity.ts';
import { type StatusOptions, status } from '../../../src/cli/status.ts';
import { temporaryDirectory } from '../../support/git.ts';

type AppFacts = Pick<AppOverview, 'name' | 'state'> & Partial<AppOverview>;

const overviewOf = (apps: readonly AppFacts[]): Overview => ({
  verdict: `${apps.length} apps.`,
  matches: apps.every(({ state }) => state === 'Matches'),
  revision: 'a'.repeat(40),
  branch: 'release',
  apps: apps.map((app) => ({
    namespace: 'flux-system',
    sync: 'Synced',
    health: 'Healthy',
    revision: '',
    targets: [],
    pods: undefined,
    since: '',
    reason: '',
    pinned: '',
    differences: [],
    notes: [],
    cause: undefined,
    why: {
      state: app.state,
      verdict: '',
      blocking: '',
      differences: [],
      notes: [],
      commit: undefined,
      cause: undefined,
      phases: [],
      nextRetryAt: undefined,
      tries: 0,
      fix: '',
    },
    ...app,
  })),
  nodes: [],
});

/** Runs the command against a page of the cluster that answers this. */
async function ask(
  overview: Overview | (() => Overview),
  options: Partial<StatusOptions> = {},
): Promise<{ readonly code: number; readonly printed: string }> {
  const server = createServer((_request, response) => response.end(JSON.stringify(typeof overview === 'function' ? overview() : overview)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const dataDirectory = await temporaryDirectory('status');
    const http = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await writeFile(join(dataDirectory, 'endpoints.json'), JSON.stringify({ http, ...(await thisProcess()) }));
    const output = new PassThrough();
    const code = await status({ dataDirectory, format: 'text', failOnDifference: false, output, ...options });
    output.end();
    return { code, printed: await text(output) };
  } finally {
    server.close();
  }
}

describe('midship status', () => {
  it('gives one line an app, and lets no control character of a file name or a message reach the terminal', async () => {
    const reason = 'web/a\r\u001b[2J\u001b]0;title\u0007.yaml is not UTF-8 text\nweb/b.yaml:1 next\nweb/c.yaml:1 last';
    const overview = overviewOf([{ name: 'web', state: 'NotApplied', reason }]);
    const line = (await ask(overview)).printed.split('\n').find((candidate) => candidate.includes('web/a'));
    expect(line).toMatch(/web\/a {2}\[2J \]0;title \.yaml is not UTF-8 text \(and 2 more\)$/);
  });

  it('names the app that is in the worst state below, and not one that waits for it', async () => {
    const cause = { sha: 'b'.repeat(40), author: 'a', subject: 's', at: 0 } as unknown as AppOverview['cause'];
    const { printed } = await ask(
      overviewOf([
        { name: 'api', state: 'Waiting' },
        { name: 'db', state: 'Broken' },
        { name: 'infra', state: 'NotApplied', cause },
        { name: 'web', state: 'NotApplied' },
      ]),
    );
    expect(printed).toMatch(/\n {2}why: {4}midship why infra {8}undo: {3}midship revert infra\n/);
  });

  it('names the branch that is followed', async () => {
    expect((await ask(overviewOf([{ name: 'web', state: 'Matches' }]))).printed).toMatch(/^1 apps\. {3}release @ aaaaaaa\n/);
  });

  it('names the server that GitOps runs on where there are several, and nothing where one is alone', async () => {
    const leadOf = async (gitops: Overview['gitops']): Promise<string> => {
      const overview = overviewOf([{ name: 'web', state: 'Matches' }]);
      const { printed } = await ask(gitops === undefined ? overview : { ...overview, gitops });
      return printed
        .split('\n')
        .filter((line) => line.startsWith('  gitops: '))
        .join();
    };
    const page = 'http://10.0.0.2:8080';
    expect(await leadOf(undefined)).toBe('');
    expect(await leadOf({ leader: 'one', here: true, page })).toBe('  gitops: this server leads');
    expect(await leadOf({ leader: 'two\u001b[2J', here: false, page })).toBe(`  gitops: two [2J leads, with the commits on ${page}`);
    expect(await leadOf({ leader: 'two', here: false, page: '' })).toBe('  gitops: two leads');
    expect(await leadOf({ leader: '', here: false, page: '' })).toBe(
      '  gitops: no server leads now; commits are not applied until one does',
    );
  });

  it('shows the namespaces that an app deploys to, its ready pods, and since when it is as it is', async () => {
    const since = new Date(Date.now() - 7_500_000).toISOString();
    const revision = 'b'.repeat(40);
    const { printed } = await ask(
      overviewOf([
        { name: 'web', state: 'Matches', targets: ['web'], since, revision, pods: { ready: 2, wanted: 3 } },
        { name: 'infra', state: 'Matches', targets: ['a', 'b', 'c'], since, revision },
        { name: 'namespaces', namespace: 'team', state: 'Matches', revision },
      ]),
    );
    expect(printed.match(/● .*/g)).toEqual([
      '● web              web   Matches Git  2/3  bbbbbbb  2 h',
      '● infra            a +2  Matches Git  -    bbbbbbb  2 h',
      '● team/namespaces  -     Matches Git  -    bbbbbbb',
    ]);
  });

  it('shows the app that is asked for, and judges that one alone', async () => {
    const overview = overviewOf([
      { name: 'web', state: 'Matches' },
      { name: 'cache', state: 'NotApplied' },
      { name: 'web', namespace: 'team', state: 'NotApplied' },
    ]);
    const failOnDifference = true;
    expect(await ask(overview, { app: 'flux-system/web', failOnDifference })).toMatchObject({ code: 0 });
    expect(await ask(overview, { app: 'web', namespace: 'team', failOnDifference })).toMatchObject({ code: 1 });
    const yaml = await ask(overview, { namespace: 'team', format: 'yaml' });
    expect(yaml.printed.match(/namespace: \S+/g)).toEqual(['namespace: team']);
    await expect(ask(overview, { app: 'cahce' })).rejects.toMatchObject({ fix: expect.stringContaining('Did you mean cache?') });
  });

  it('prints again when something changes, until it is interrupted', async () => {
    const abort = new AbortController();
    const states = ['Matches', 'Matches', 'NotApplied'] as const;
    let looks = 0;
    const answer = (): Overview => {
      looks += 1;
      if (looks === states.length) abort.abort();
      return overviewOf([{ name: 'web', state: states[looks - 1] ?? 'NotApplied' }]);
    };
    const { code, printed } = await ask(answer, { watch: abort.signal });
    expect([code, printed.match(/web/g)]).toEqual([130, expect.objectContaining({ length: 3 })]);
  });
});
