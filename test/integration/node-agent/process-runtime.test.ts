import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ContainerConfig } from '../../../src/node-agent/container-runtime.ts';
import type { RuntimeFixture } from '../../support/container-runtime.ts';
import { commandLines, createProcessFixture, hosts, isolated, killByCommandLine, sleepLike } from '../../support/process-runtime.ts';

describe.each(['namespaces', 'plain'] as const)('process runtime, %s', (mode) => {
  const skip = mode === 'namespaces' && !isolated;
  let fixture: RuntimeFixture;
  beforeEach(async (context) => {
    if (skip) context.skip('this machine gives no namespaces');
    fixture = await createProcessFixture(hosts[mode]);
  });
  afterEach(() => (skip ? undefined : fixture.end()));

  it('passes environment names that a shell cannot hold, and has node on the PATH', async () => {
    const id = await fixture.run(await fixture.sandbox(), '', {
      command: ['node', '-e', 'console.log(process.env["app.name"], process.env.HOSTNAME)'],
      args: [],
      env: [{ name: 'app.name', value: 'a b' }],
    });
    await fixture.exited(id);
    expect(await fixture.output(id)).toMatch(/^a b pod-\d+\n$/);
  });

  it('ends a program without a handler at the first signal', async () => {
    const id = await fixture.run(await fixture.sandbox(), '', { command: ['sleep', '60'], args: [] });
    const before = Date.now();
    await fixture.runtime.stopContainer(id, 5_000);
    expect(Date.now() - before).toBeLessThan(2_000);
    expect(await fixture.status(id)).toMatchObject({ exitCode: 143 });
  });

  it('kills everything a container has started, also what left its session, after the grace period', async () => {
    const length = sleepLike(1234);
    const id = await fixture.run(
      await fixture.sandbox(),
      `trap "" TERM; setsid sleep ${length} & sleep ${length} & echo ready; while :; do sleep 0.1; done`,
    );
    await fixture.printed(id, 'ready');
    await fixture.runtime.stopContainer(id, 300);
    expect(await fixture.status(id)).toMatchObject({ exitCode: 137, reason: 'Error' });
    const left = (await commandLines()).filter((line) => line.includes(length));
    expect(left).toEqual([]);
  });

  it('notices at once that the program was killed', async () => {
    const length = sleepLike(4321);
    const id = await fixture.run(await fixture.sandbox(), `echo $$; exec sleep ${length}`);
    await fixture.printed(id, '\n');
    const changed = new Promise<string>((resolve) => fixture.runtime.onChange(resolve));
    await killByCommandLine(`sleep\0${length}\0`);
    await changed;
    expect(await fixture.status(id)).toMatchObject({ exitCode: 137 });
  });

  it('stops a container whose end cannot be written down, as on a full disk', async () => {
    const id = await fixture.run(await fixture.sandbox(), 'echo $$; exec sleep 4322.5');
    await fixture.printed(id, '\n');
    const [exit = ''] = (await readdir(fixture.directory, { recursive: true })).filter((name) => name.endsWith(`${id}/exit`));
    await rm(join(fixture.directory, exit));
    await symlink(join(fixture.directory, 'missing', 'file'), join(fixture.directory, exit));
    await fixture.runtime.stopContainer(id, 0);
    expect(await fixture.status(id)).toMatchObject({ state: 'exited', exitCode: 137 });
  });

  it('notices the death of an adopted container', async () => {
    const length = sleepLike(999);
    const id = await fixture.run(await fixture.sandbox(), `exec sleep ${length}`);
    await fixture.reopen();
    await killByCommandLine(`sleep\0${length}\0`);
    expect(await fixture.exited(id)).toMatchObject({ exitCode: 137 });
  });

  it('measures a running container and sees what it listens on', async () => {
    const sandbox = await fixture.sandbox();
    const id = await fixture.run(sandbox, '', {
      command: ['node', '-e', 'require("http").createServer().listen(0, "127.200.16.2", () => console.log("listening"))'],
      args: [],
    });
    await fixture.printed(id, 'listening');
    const [stats] = await fixture.runtime.stats();
    expect(stats?.memoryRssBytes).toBeGreaterThan(10_000_000);
    expect(stats?.cpuUsageSeconds).toBeGreaterThan(0);
    const [{ uid } = { uid: '' }] = await fixture.runtime.list();
    expect(await fixture.runtime.listeners(uid)).toEqual([{ address: '127.200.16.2', port: expect.any(Number) }]);
  });

  it('refuses images that are not programs of the host', async () => {
    await expect(fixture.runtime.findImage('nginx:1')).rejects.toMatchObject({
      reason: 'ErrImagePull',
      message: 'images are not pulled in this version: pods run programs of this machine, host/NAME the program NAME',
    });
    await expect(fixture.runtime.findImage('host/web:1')).resolves.toMatchObject({ reference: 'host/web:1' });
  });
});

describe.skipIf(!isolated)('a container with its own file system (needs user namespaces)', () => {
  let fixture: RuntimeFixture;
  let volume: string;
  beforeAll(async () => {
    fixture = await createProcessFixture(hosts.namespaces);
    volume = join(fixture.directory, 'volume');
    await mkdir(volume);
    // The pods of root are another user.
    await chmod(volume, 0o777);
    await writeFile(join(volume, 'key'), 'value\n');
  });
  afterAll(() => fixture.end());

  const outputOf = async (script: string, changes: Partial<ContainerConfig> = {}): Promise<string> => {
    const id = await fixture.run(await fixture.sandbox(), script, changes);
    await fixture.exited(id);
    return fixture.output(id);
  };

  it('has volumes at their paths, also below directories of the host that lack them', async () => {
    const at = (containerPath: string, readOnly = true) => ({ hostPath: volume, containerPath, readOnly });
    const output = await outputOf(
      'cat /data/key /etc/app/conf.d/key /usr/share/midship-test/key /srv/"a b"/key; cat /etc/passwd >/dev/null && echo passwd; ls /usr/share >/dev/null && echo share; echo x >/data/key; echo x >/srv/"a b"/new && echo written',
      { mounts: [at('/data'), at('/etc/app/conf.d'), at('/usr/share/midship-test/'), at('/srv/a b', false)] },
    );
    expect(output).toContain('value\nvalue\nvalue\nvalue\npasswd\nshare\n');
    expect(output).toContain('Read-only file system');
    expect(output).toContain('written');
    expect(existsSync('/etc/app')).toBe(false);
  });

  it('mounts a single file over one of the host', async () => {
    const mounts = [{ hostPath: join(volume, 'key'), containerPath: '/etc/hostname-of-test/file', readOnly: true }];
    expect(await outputOf('cat /etc/hostname-of-test/file', { mounts })).toBe('value\n');
  });

  it('has its own /tmp, host name, processes and a read-only host', async () => {
    const output = await outputOf(
      'echo x >/tmp/own; ls /tmp; cat /proc/sys/kernel/hostname; ls -d /proc/[0-9]* | wc -l; touch /usr/x; grep -c . /etc/hosts',
    );
    expect(output).toMatch(/^own\npod-\d+\n[3-6]\n/);
    expect(output).toContain('Read-only file system');
  });

  it('leaves no process behind when its first process is killed', async () => {
    const first = sleepLike(776);
    const child = sleepLike(777);
    const id = await fixture.run(await fixture.sandbox(), `setsid sleep ${child} & echo ready; exec sleep ${first}`);
    await fixture.printed(id, 'ready');
    await killByCommandLine(`sleep\0${first}\0`);
    await fixture.exited(id);
    expect((await commandLines()).filter((line) => line.includes(child))).toEqual([]);
  });
});

it('refuses volumes where there are no mount namespaces, and says why', async () => {
  const fixture = await createProcessFixture(hosts.plain);
  const mounts = [{ hostPath: '/tmp', containerPath: '/data', readOnly: true }];
  await expect(fixture.run(await fixture.sandbox(), 'true', { mounts })).rejects.toMatchObject({
    message: 'volumeMounts need a mount namespace for the container, and isolation is switched off',
  });
  await fixture.end();
});
