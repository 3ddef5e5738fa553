import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import {
  ContainerdError,
  refuseOld,
  removeContainerdState,
  startContainerd,
} from '../../../src/node-agent/containerd/containerd-service.ts';
import { openForeignRuntime } from '../../../src/node-agent/containerd/foreign-runtime.ts';
import { openQosCgroups } from '../../../src/node-agent/containerd/qos-cgroups.ts';
import { whyNoContainerd } from '../../support/containerd.ts';
import { temporaryDirectory } from '../../support/git.ts';

let directory = '';
afterEach(() => removeContainerdState(directory));

/** The message of a start on a machine whose programs are these; `undefined` as text is the program of this machine. */
async function startWith(programs: Readonly<Record<string, string | undefined>>): Promise<ContainerdError> {
  directory = await temporaryDirectory('containerd-start');
  const bin = join(directory, 'bin');
  await mkdir(bin);
  for (const [name, script] of Object.entries(programs)) {
    if (script === undefined) await symlink(`/usr/bin/${name}`, join(bin, name));
    else {
      await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
      await chmod(join(bin, name), 0o755);
    }
  }
  const log = createLog({ level: 'silent' });
  const started = await startContainerd({ directory, searchPath: bin, clock: systemClock, log }).catch((err: unknown) => err);
  expect(started).toBeInstanceOf(ContainerdError);
  return started as ContainerdError;
}

it.skipIf(whyNoContainerd !== undefined)(
  'a machine without containerd learns what to install (skipped where containers cannot run)',
  async () => {
    const { message, fix } = await startWith({});
    expect(message).toBe('The program containerd was not found on PATH.');
    expect(fix).toBe('Install containerd and runc (Debian: apt install containerd runc).');
  },
);

it.skipIf(whyNoContainerd !== undefined)(
  'a containerd before 1.7 is refused by its version (skipped where containers cannot run)',
  async () => {
    const { message, fix } = await startWith({ containerd: 'echo "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1"' });
    expect(message).toBe(`containerd 1.6.20~ds1 (${join(directory, 'bin', 'containerd')}) is older than 1.7, which pods need.`);
    expect(fix).toBe('Install containerd 1.7 or later (Debian 13: apt install containerd).');
  },
);

it.each([
  ['v1.5.9', '1.5.9'],
  ['containerd containerd.io 0.9.1 abc', '0.9.1'],
  ['containerd github.com/containerd/containerd/v2 v2.0.4 1a43cb6', undefined],
  ['1.7.0-rc.1', undefined],
  ['1.10.2', undefined],
  ['containerd of mine', undefined],
])('a containerd that says %j is refused as %s', (text, version) => {
  const refuse = () => refuseOld(text, '/run/c.sock');
  if (version === undefined) refuse();
  else expect(refuse).toThrow(`containerd ${version} (/run/c.sock) is older than 1.7`);
});

it('a machine without control groups learns what to mount', async () => {
  const root = await temporaryDirectory('no-groups');
  const refused = openQosCgroups(root).catch((err: unknown) => err);
  expect(await refused).toMatchObject({
    name: 'ContainerdError',
    message: `Control groups cannot be used: ${root}/memory is no control group.`,
    fix: expect.stringMatching(/^Mount cgroup2 at \/sys\/fs\/cgroup\. .*cgroup_enable=memory/),
  });
});

it.skipIf(whyNoContainerd !== undefined)(
  'a containerd that ends is shown with its last words (skipped where containers cannot run)',
  async () => {
    const { message, fix } = await startWith({ containerd: 'echo "level=fatal msg=broken" >&2; exit 1', ctr: 'exit 1' });
    expect(message).toBe('containerd ended; its last lines: level=fatal msg=broken.');
    expect(fix).toMatch(/^Install containerd 1\.7 or later with its CRI plugin, and see \S+containerd\.log\.$/);
  },
);

it.skipIf(whyNoContainerd !== undefined)(
  'a containerd that does not serve pods is ended at once, and not waited for (skipped where containers cannot run)',
  async () => {
    // An earlier version, or one that a distribution built without it.
    const disable = `[ "$1" = --version ] && exec /usr/bin/containerd --version; sed '/^version/a disabled_plugins = ["io.containerd.grpc.v1.cri"]' "$2" > "$2.less"`;
    const { message } = await startWith({ containerd: `${disable}; exec /usr/bin/containerd --config "$2.less"`, ctr: undefined });
    expect(message).toMatch(/^containerd does not serve containers \(.*unknown service runtime\.v1\.RuntimeService\); its last lines: /);
  },
  20_000,
);

it('a socket of nobody names the file and the reason', async () => {
  const path = join(await temporaryDirectory('socket'), 'plain');
  await writeFile(path, '');
  const refused = openForeignRuntime({ socketPath: path, searchPath: '', clock: systemClock });
  await expect(refused).rejects.toThrow(/^No container runtime answers at \S+plain: .*ECONNREFUSED/);
});
