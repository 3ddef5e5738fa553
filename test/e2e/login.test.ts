import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Endpoints, program, type RunningCluster, startCluster } from '../support/cluster.ts';
import { temporaryDirectory } from '../support/git.ts';
import { until } from '../support/until.ts';

const executablePath = '/usr/bin/chromium';
const simulated = ['--runtime', 'simulated'];

/** Secrets of a data directory that a start may show to a terminal. */
async function secretsOf(dataDirectory: string): Promise<readonly string[]> {
  const files = ['git-token', 'page-token', 'page-owner-token'].map((name) => join(dataDirectory, name)).filter(existsSync);
  return Promise.all(files.map(async (path) => (await readFile(path, 'utf8')).trim()));
}

describe('a cluster whose page asks for a login', () => {
  let cluster: RunningCluster;
  beforeAll(async () => {
    cluster = await startCluster({ command: 'up', args: [...simulated, '--require-login', '--http-bind-address', '0.0.0.0'] });
    await until(() => cluster.output().includes('Push to'), { what: () => `the start is over; ${cluster.output()}` });
  });
  afterAll(() => cluster?.stop());

  it('keeps tokens and links out of what it prints to no terminal, and of its log', async () => {
    const log = await readFile(join(cluster.dataDirectory, 'logs', 'midship.log'), 'utf8');
    for (const secret of await secretsOf(cluster.dataDirectory)) {
      expect(secret).toMatch(/^[0-9a-f]{40}$/);
      expect(cluster.output()).not.toContain(secret);
      expect(log).not.toContain(secret);
    }
    expect(cluster.output()).not.toContain('token=');
    expect(cluster.output()).toMatch(/Status page {4}http:\/\/\S+ +\(log in by: midship page-url\)/);
    expect(cluster.output()).toMatch(/Push to +http:\/\/[\d.:]+\/git\/cluster\.git +\(with its token: midship git-url\)/);
    for (const name of ['git-token', 'page-token', 'page-owner-token', 'endpoints.json'])
      expect((await stat(join(cluster.dataDirectory, name))).mode & 0o777, name).toBe(0o600);
  });

  it('answers its own commands, and a scrape with the token of the file that endpoints.json names', async () => {
    expect(await cluster.midship('status')).toMatchObject({ code: 0 });
    const { pageTokenFile = '', http } = JSON.parse(await readFile(join(cluster.dataDirectory, 'endpoints.json'), 'utf8')) as Endpoints;
    const Authorization = `Bearer ${(await readFile(pageTokenFile, 'utf8')).trim()}`;
    expect((await fetch(`${http}/metrics`)).status).toBe(401);
    expect((await fetch(`${http}/metrics`, { headers: { Authorization } })).status).toBe(200);
  });

  it.skipIf(!existsSync(executablePath))('lets a browser in by the link of page-url, once (needs /usr/bin/chromium)', async () => {
    const link = (await cluster.midship('page-url')).stdout.trim();
    let browser: Browser | undefined;
    try {
      browser = await chromium.launch({
        executablePath,
        args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'],
        // The browser has a socket there, and the path of one has to be short.
        env: { ...process.env, TMPDIR: '/tmp' },
      });
      const context = await browser.newContext();
      const page = await context.newPage();
      const complaints: string[] = [];
      // Without https the browser says that it ignores this header.
      page.on('console', (message) => {
        if (message.type() === 'error' && !message.text().includes('Cross-Origin-Opener-Policy')) complaints.push(message.text());
      });
      const stream = page.waitForResponse((response) => new URL(response.url()).pathname === '/events/stream');
      await page.goto(link);
      expect(new URL(page.url()).pathname + new URL(page.url()).search).toBe('/');
      expect(await page.locator('h1').textContent()).toMatch(/Git/);
      expect((await stream).status()).toBe(200);
      expect(complaints).toEqual([]);
      expect(await page.evaluate(() => document.cookie)).not.toContain('session');
      const stranger = await browser.newPage();
      expect((await stranger.goto(link))?.status()).toBe(401);
      expect(await stranger.locator('body').textContent()).toContain('midship page-url');
    } finally {
      await browser?.close();
    }
  });
});

it('leaves the page open on loopback unless it is asked for a login', async () => {
  const cluster = await startCluster({ command: 'up', args: simulated });
  try {
    expect((await fetch(`${cluster.endpoints.http}/status.json`)).status).toBe(200);
    expect((await cluster.midship('page-url')).stdout).toBe(`${cluster.endpoints.http}\n`);
    expect(existsSync(join(cluster.dataDirectory, 'page-token'))).toBe(false);
  } finally {
    await cluster.stop();
  }
});

it('does not show the password of --repo to other users of the machine', async () => {
  const args = [...simulated, '--repo', 'https://mara:geheim@127.0.0.1:1/site.git'];
  const cluster = await startCluster({ command: 'up', args });
  try {
    expect(readFileSync(`/proc/${cluster.endpoints.pid}/cmdline`, 'utf8')).not.toContain('geheim');
    expect(cluster.output()).not.toContain('geheim');
  } finally {
    await cluster.stop();
  }
});

it.skipIf(!existsSync('/usr/bin/script'))('shows the push token and a link to a terminal (needs /usr/bin/script)', async () => {
  const data = await temporaryDirectory('data');
  const command = [
    process.execPath,
    program,
    'up',
    '--data-dir',
    data,
    '--api-port',
    '0',
    '--http-port',
    '0',
    '--require-login',
    ...simulated,
  ];
  const terminal = spawn('script', ['--quiet', '--flush', '--command', command.join(' '), '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NO_COLOR: '1' },
  });
  let text = '';
  terminal.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const ended = new Promise((resolve) => terminal.once('exit', resolve));
  try {
    await until(() => text.includes('q stops'), { what: () => `the start is over; ${text}` });
    const [git = ''] = await secretsOf(data);
    expect(text).toMatch(new RegExp(`Push to +http://midship:${git}@127\\.0\\.0\\.1:\\d+/git/cluster\\.git`));
    const [link = ''] = /http:\S+\/login\?token=\S+/.exec(text) ?? [];
    expect((await fetch(link, { redirect: 'manual' })).status).toBe(303);
    // A new one, which no list of processes shows.
    const before = text.length;
    terminal.stdin.write(' ');
    await until(() => /\/login\?token=\S+/.test(text.slice(before)), { what: () => `space shows a link; ${text.slice(before)}` });
  } finally {
    terminal.stdin.write('q');
    await ended;
  }
});
