import { spawnSync } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { beforeEach, describe, expect, it } from 'vitest';
import { formatJoinToken } from '../../../src/api/join-token.ts';
import { serviceIn } from '../../../src/cli/down.ts';
import { type InstallServiceOptions, installService, uninstallService } from '../../../src/cli/install-service.ts';
import { serviceArguments } from '../../../src/cli/install-service-unit.ts';
import { createCommands, createProgram } from '../../../src/cli/program.ts';
import { temporaryDirectory } from '../../support/git.ts';

const token = formatJoinToken({ authorityHash: 'a'.repeat(64), bootstrapToken: 'abcdef.0123456789abcdef' });
const units = 'etc/systemd/system';

let root: string;
let printed: string;
let options: InstallServiceOptions;
const output = new Writable({
  write(chunk, _, done) {
    printed += String(chunk);
    done();
  },
}) as NodeJS.WriteStream;

/** The calls of systemctl on this machine, in their order. */
const calls = async (): Promise<readonly string[]> => (await readFile(join(root, 'calls'), 'utf8').catch(() => '')).trim().split('\n');
const read = (path: string): Promise<string> => readFile(join(root, path), 'utf8');
const filesOf = (): Promise<readonly string[]> => readdir(join(root, units)).then((names) => names.sort());

/** A systemctl that records its calls, and refuses the one that begins with `refused`. */
async function writeSystemctl(refused = 'nothing'): Promise<void> {
  const path = join(root, 'bin/systemctl');
  await mkdir(join(root, 'bin'), { recursive: true });
  await writeFile(
    path,
    `#!/bin/sh\necho "$*" >> ${root}/calls\ncase "$*" in "${refused}"*) echo "Job for midship failed." >&2; exit 1;; esac\n`,
  );
  await chmod(path, 0o755);
}

beforeEach(async () => {
  root = await temporaryDirectory('root');
  printed = '';
  await mkdir(join(root, 'run/systemd/system'), { recursive: true });
  await writeSystemctl();
  options = {
    root,
    environment: { PATH: `${root}/bin:${process.env.PATH}` },
    output,
    role: 'agent',
    program: ['/usr/bin/node', '/usr/lib/node_modules/midship/dist/main.js'],
    args: ['--server', 'https://192.168.1.10:6443', '--node-label', 'price=5%$x "y"'],
    variables: { MIDSHIP_TOKEN: token },
    print: false,
  };
});

describe('installService', () => {
  it('writes a unit that everybody may read, and the token beside it for root alone', async () => {
    expect(await installService(options)).toBe(0);
    const unit = await read(`${units}/midship-agent.service`);
    expect(unit).toContain(
      'ExecStart=/usr/bin/node /usr/lib/node_modules/midship/dist/main.js agent --server https://192.168.1.10:6443 --node-label "price=5%%$$x \\"y\\""\n',
    );
    for (const line of ['Restart=always', 'Delegate=yes', 'KillMode=process', 'After=network-online.target'])
      expect(unit).toContain(`\n${line}\n`);
    expect(unit).not.toContain('K10');
    expect(await read(`${units}/midship-agent.service.env`)).toBe(`MIDSHIP_TOKEN="${token}"\n`);
    const modes = await Promise.all(['', '.env'].map((end) => stat(join(root, `${units}/midship-agent.service${end}`))));
    expect(modes.map(({ mode }) => mode & 0o777)).toEqual([0o644, 0o600]);
    expect(await calls()).toEqual(['daemon-reload', 'enable --now midship-agent.service']);
  });

  it.skipIf(spawnSync('systemd-analyze', ['--version']).error !== undefined)(
    'is a unit that systemd takes (needs systemd-analyze)',
    async () => {
      const [program = ''] = [process.execPath];
      await installService({ ...options, role: 'server', program: [program, '/bin/true'], variables: {} });
      const path = join(root, units, 'midship.service');
      // Every line that systemd does not know, or cannot parse, is printed with the path of the unit.
      const said = spawnSync('systemd-analyze', ['verify', '--man=no', '--recursive-errors=no', path], { encoding: 'utf8' });
      expect(`${said.stdout}${said.stderr}`.split('\n').filter((line) => line.includes('midship.service'))).toEqual([]);
    },
  );

  it('prints the unit and does nothing', async () => {
    await installService({ ...options, print: true });
    expect(printed).toMatch(/^\[Unit\]\n[\s\S]*\nEnvironmentFile=\/etc\/systemd\/system\/midship-agent\.service\.env\n/);
    expect(printed).not.toContain('K10');
    expect(await readdir(root)).toEqual(['bin', 'run']);
  });

  it('restarts a service that gets other flags', async () => {
    await installService(options);
    await installService({ ...options, args: [] });
    expect(await calls()).toEqual([
      ...['daemon-reload', 'enable --now midship-agent.service'],
      ...['daemon-reload', 'enable midship-agent.service', 'restart midship-agent.service'],
    ]);
  });

  it('leaves nothing when systemd refuses it, and the service of before when it refuses the change', async () => {
    await writeSystemctl('enable --now');
    await expect(installService(options)).rejects.toMatchObject({
      message: '"systemctl enable --now midship-agent.service" did not work',
      why: 'Job for midship failed.',
    });
    expect(await filesOf()).toEqual([]);

    await writeSystemctl();
    await installService(options);
    const before = await read(`${units}/midship-agent.service`);
    await writeSystemctl('restart');
    await expect(installService({ ...options, args: [], variables: {} })).rejects.toMatchObject({ why: 'Job for midship failed.' });
    expect(await read(`${units}/midship-agent.service`)).toBe(before);
    expect(await read(`${units}/midship-agent.service.env`)).toContain(token);
  });

  it('refuses a machine without systemd, and one that is a server already', async () => {
    await installService({ ...options, role: 'server' });
    await expect(installService(options)).rejects.toMatchObject({ message: 'this machine has the service midship.service already' });
    await expect(installService({ ...options, root: join(root, 'elsewhere') })).rejects.toMatchObject({
      message: 'this machine has no systemd',
    });
  });
});

it.each([
  ['0::/system.slice/midship.service\n', 'midship.service'],
  ['2:memory:/\n1:name=systemd:/system.slice/midship-agent.service/waiter\n', 'midship-agent.service'],
  ['0::/user.slice/user-0.slice/session-1.scope\n', undefined],
  ['0::/system.slice/midship.service.d/x\n', undefined],
])('down knows the service of a process in %j, which it must not end behind its back', (text, service) => {
  expect(serviceIn(text)).toBe(service);
});

it('uninstallService stops the service and removes its files', async () => {
  expect(await uninstallService(options)).toBe(1);
  await installService(options);
  expect(await uninstallService(options)).toBe(0);
  expect(await filesOf()).toEqual([]);
  expect((await calls()).slice(2)).toEqual(['disable --now midship-agent.service', 'daemon-reload']);
});

describe('midship install-service', () => {
  const midship = (...args: readonly string[]) =>
    createProgram({ environment: {}, stdout: output, stderr: output, version: '1.2.3' }).run(['install-service', ...args]);

  it('takes the flags of the command, with absolute paths and without the token', async () => {
    await writeFile(join(root, 'token'), token);
    const agent = ['agent', '--server', 'https://192.168.1.10:6443', '--token-file', join(root, 'token')];
    expect(await midship(...agent, '--data-dir=data', '--node-label', 'a=b', '--print')).toBe(0);
    expect(printed).toContain(` agent --server https://192.168.1.10:6443 --data-dir ${process.cwd()}/data --node-label a=b\n`);
    expect(printed).not.toContain('token-file');
  });

  it.each([
    [['agent', '--print'], 'missing flag: --server'],
    [['agent', '--server', 'https://192.168.1.10:6443', '--print'], 'missing flag: --token-file'],
    [['agent', '--servr', 'x', '--print'], "unknown option '--servr'"],
    [['server', '--detach', '--print'], '--detach has no place in a service'],
    [['server', '--repo', 'https://me:secret@git.example.com/a.git', '--print'], '--repo has a password'],
    [['worker', '--print'], "'worker' is invalid"],
  ])('refuses %j', async (args, message) => {
    await expect(midship(...args)).rejects.toThrow(message);
    expect(printed).not.toContain('secret');
  });

  it('keeps addresses and names of programs as they are', () => {
    const program = createCommands({ environment: {}, stdout: output, stderr: output, version: '1.2.3' }, [], () => undefined);
    const server = program.commands.find((command) => command.name() === 'server');
    expect(server && serviceArguments(server, ['--repo', 'https://x/y.git', '--helm-command', 'helm', '--enable-helm'], '/root')).toEqual([
      '--repo',
      'https://x/y.git',
      '--helm-command',
      'helm',
      '--enable-helm',
    ]);
    expect(server && serviceArguments(server, ['--repo', 'here', '--token=abcdef.0123456789abcdef'], '/root')).toEqual([
      '--repo',
      '/root/here',
    ]);
  });
});
