import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { ContainerdError, removeContainerdState, startContainerd } from '../../../src/node-agent/containerd/containerd-service.ts';
import { openForeignRuntime } from '../../../src/node-agent/containerd/foreign-runtime.ts';
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
    const disable = `sed '/^version/a disabled_plugins = ["io.containerd.grpc.v1.cri"]' "$2" > "$2.less"`;
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
