import { setMaxListeners } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createActivityFeed } from '../../../src/base/contracts/activity.ts';
import { createLog } from '../../../src/base/log.ts';
import { createTurnGate } from '../../../src/base/turn-gate.ts';
import type { Client } from '../../../src/client/client.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { createWeb } from '../../../src/web/server.ts';
import { startSeededApi } from '../../support/api.ts';
import { until } from '../../support/until.ts';

const log = createLog({ level: 'silent' });
const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const sha = '3f2a9c1'.padEnd(40, '0');
const hostile = `<script>alert("1")</script> & 'quote'`;
/** Clears a terminal, in two ways, and turns around what comes behind it. */
const controls = 'a\u001b[2J\u009b2J\u202eb\u0000\u007f';

async function start() {
  const api = await startSeededApi(['web', 'flux-system']);
  const running = new AbortController();
  // Every informer listens.
  setMaxListeners(0, running.signal);
  const { signal } = running;
  const client = api.clientFor();
  const informers = createInformerSet({ client, clock: systemClock, log });
  const activity = createActivityFeed();
  const web = createWeb({
    address: '127.0.0.1',
    port: 0,
    informers,
    activity,
    mounts: [],
    metrics: {},
    ready: () => true,
    gate: createTurnGate({ clock: systemClock }),
    clock: systemClock,
    log,
    clusterName: 'home <lab>',
    version: '0.0.0',
  });
  cleanups.push(async () => {
    await web.stop();
    running.abort();
    await api.stop();
  });
  await web.start({ signal });
  informers.start({ signal });
  await informers.waitForSync({ signal });
  return { url: web.url, client, activity, stop: () => web.stop() };
}

async function addApp(
  client: Client,
  name: string,
  condition: { status: 'True' | 'False'; reason: string; message: string },
): Promise<void> {
  const app = await client.create(kustomizations, {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name, namespace: 'flux-system' },
    spec: { interval: '10s', prune: true, path: './apps', sourceRef: { kind: 'GitRepository', name: 'cluster' } },
  });
  const at = '2026-01-01T00:00:00Z';
  const status = {
    observedGeneration: app.metadata.generation ?? 1,
    lastAppliedRevision: `main@sha1:${sha}`,
    conditions: [
      { type: 'Ready', status: 'True', reason: 'ReconciliationSucceeded', message: '', lastTransitionTime: at },
      { type: 'Healthy', ...condition, lastTransitionTime: at },
    ],
    inventory: { entries: [{ id: 'web_cache_apps_Deployment', v: 'v1' }] },
  } as const;
  await client.update(kustomizations, { ...app, status }, { subresource: 'status' });
}

const healthy = { status: 'True', reason: 'Healthy', message: '' } as const;
const get = async (url: string): Promise<string> => (await fetch(url)).text();
const seen = (url: string, text: string): Promise<string> =>
  until(async () => ((await get(url)).includes(text) ? get(url) : undefined), { what: `${url} shows ${text}` });

describe('pages', () => {
  it('show what people wrote as text, and allow nothing but their own script and style', async () => {
    const { url, client, activity } = await start();
    await addApp(client, 'cache', { status: 'False', reason: 'Degraded', message: hostile });
    activity.add({ type: 'commit', at: 0, branch: 'main', sha, author: hostile, subject: hostile });
    await client.create(events, {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: 'e', namespace: 'web' },
      involvedObject: { kind: 'Pod', namespace: 'web', name: 'p' },
      reason: 'Failed',
      message: hostile,
      type: 'Warning',
      lastTimestamp: '2026-01-01T00:00:00Z',
    });
    for (const path of ['/', '/apps/flux-system/cache', '/events']) {
      const html = await seen(`${url}${path}`, '&lt;script>alert');
      expect(html).not.toContain('<script>alert');
      expect(html).not.toMatch(/<[^>]+ (style|on\w+)=/);
      expect(html).not.toMatch(/(src|href)="(https?:)?\/\//);
    }
    const policy = (await fetch(url)).headers.get('Content-Security-Policy');
    expect(policy).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self';/);
    expect(policy).not.toContain('unsafe');
  });

  it('show no control character that people wrote', async () => {
    const { url, client, activity } = await start();
    await addApp(client, 'cache', { status: 'False', reason: 'Degraded', message: `marked ${controls}` });
    activity.add({ type: 'commit', at: 0, branch: 'main', sha, author: controls, subject: controls });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    const forbidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]|\\u00(1b|00|7f|9b)/;
    for (const path of ['/', '/apps/flux-system/cache']) expect(await seen(`${url}${path}`, 'marked a [2J')).not.toMatch(forbidden);
    const abort = new AbortController();
    const stream = await fetch(`${url}/events/stream?path=%2F`, { signal: abort.signal });
    let text = '';
    for await (const chunk of stream.body ?? []) {
      text += Buffer.from(chunk).toString();
      if (text.includes('marked')) break;
    }
    abort.abort();
    expect(text).toContain('a [2J');
    expect(text).not.toMatch(forbidden);
  });

  it('have an address for each app and node, and for nothing else', async () => {
    const { url, client } = await start();
    await addApp(client, 'cache', healthy);
    await client.create(nodes, {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'pi-4a', labels: { 'midship.dev/simulated': 'true' } },
    });
    await seen(url, 'cache');
    expect(await seen(`${url}/nodes/pi-4a`, 'pi-4a')).toContain('A simulated node');
    for (const path of ['/apps/flux-system/cache', '/events', '/nodes/pi-4a', '/steps'])
      expect((await fetch(`${url}${path}`)).status, path).toBe(200);
    for (const path of [
      '/apps/flux-system/none',
      '/apps/flux-system',
      '/nodes/none',
      '/nodes/a/b',
      '/assets/../package.json',
      '/assets/none',
    ])
      expect((await fetch(`${url}${path}`)).status, path).toBe(404);
    expect((await fetch(`${url}/apps/%E0%A4%A/x`)).status).toBe(400);
  });

  it('draw how long the newest applies of an app took, from two on and no more than 20', async () => {
    const { url, client, activity } = await start();
    await addApp(client, 'cache', healthy);
    const apply = (at: number, durationMs: number, app = 'cache') =>
      activity.add({ type: 'applied', at, app, sha: String(at).padStart(40, '0'), changes: [], durationMs, rollback: false });
    apply(1, 50);
    apply(1, 9_000, 'other');
    const page = `${url}/apps/flux-system/cache`;
    expect(await seen(page, 'Applied in 50 ms')).not.toContain('class="durations"');
    expect(await seen(url, '1 matches Git')).not.toContain('1 match Git');
    await addApp(client, 'store', healthy);
    await seen(url, '2 match Git');
    for (let at = 2; at <= 25; at += 1) apply(at, at * 10);
    const html = await seen(page, 'Applied in 0.3 s');
    const [drawing = ''] = /<span class="durations".*?<\/svg>/.exec(html) ?? [];
    expect(drawing).toContain('title="20 times, 60 ms to 0.3 s"');
    const heights = [...drawing.matchAll(/<rect [^>]*height="(\d+)"/g)].map(([, height]) => Number(height));
    expect(heights).toHaveLength(20);
    expect([heights[0], heights.at(-1)]).toEqual([3, 14]);
  });

  it('give styles a name that changes with them, to be kept forever', async () => {
    const { url } = await start();
    const [, path] = /href="(\/assets\/page\.[0-9a-f]{16}\.css)"/.exec(await get(url)) ?? [];
    const answer = await fetch(`${url}${path}`);
    expect(answer.headers.get('Content-Type')).toContain('text/css');
    expect(answer.headers.get('Cache-Control')).toContain('immutable');
    expect((await fetch(url)).headers.get('Cache-Control')).toBe('no-store');
  });

  it('draw a badge for an app, which other sites may show', async () => {
    const { url, client } = await start();
    await addApp(client, 'cache', healthy);
    const text = await seen(`${url}/badge/flux-system/cache.svg`, 'Matches Git');
    expect(text).toMatch(/^<svg .*aria-label="cache: Matches Git"/);
    const answer = await fetch(`${url}/badge/flux-system/cache.svg`);
    expect(answer.headers.get('Cross-Origin-Resource-Policy')).toBe('cross-origin');
    expect((await fetch(`${url}/badge/flux-system/none.svg`)).status).toBe(404);
  });

  it('stream what changes to those who look', async () => {
    const { url, client, stop } = await start();
    await addApp(client, 'cache', healthy);
    await seen(url, '1 app matches Git.');
    const abort = new AbortController();
    const answer = await fetch(`${url}/events/stream?path=/`, { signal: abort.signal });
    expect(answer.headers.get('Content-Type')).toContain('text/event-stream');
    let text = '';
    const reading = (async () => {
      for await (const chunk of answer.body ?? []) text += Buffer.from(chunk).toString();
    })();
    await until(() => text.includes('event: snapshot'), { what: 'the snapshot arrives' });
    expect(text).toContain('1 app matches Git.');
    await addApp(client, 'web', { status: 'False', reason: 'Degraded', message: 'crashes' });
    await until(() => text.includes('1 of 2 apps does not work.'), { what: 'the patch arrives', timeoutMs: 2_000 });
    expect(text).toMatch(/\nevent: patch\nid: [0-9a-f]{8}-1-\d+\ndata: /);
    // Stopping the server ends the stream.
    await stop();
    await reading;
  });

  it('do not stream what does not exist', async () => {
    const { url } = await start();
    for (const query of ['', '?path=/none', '?path=/&path=/', `?path=/apps/${'a'.repeat(2_000)}`])
      expect((await fetch(`${url}/events/stream${query}`)).status, query).toBe(404);
  });
});
