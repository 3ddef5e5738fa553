import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { program } from '../support/cluster.ts';
import { hasEtcd } from '../support/etcd.ts';
import { temporaryDirectory } from '../support/git.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { Machines, whyNoMachines } from '../support/machines.ts';

/** In this order, on the same machines: a later page begins where the one before ends. */
const pages = ['three-control-planes', 'rotate-keys', 'upgrade-servers', 'backup-move-upgrade'];
const whyNoPage = hasEtcd && hasKubectl ? whyNoMachines : 'etcd or kubectl is not installed';
const order = ['first', 'second', 'third'];
const second = 'midship server -d --store etcd://127.0.0.1:2379 --disable node,ingress,servicelb --token-file server-token';
/** Commands on the machine of a block, before it. The second machine is away while the token is rotated. */
const before: Readonly<Record<string, { readonly who: string; readonly block: string; readonly script: string }>> = {
  'three-control-planes': {
    who: 'third',
    block: 'git clone',
    script: 'until git ls-remote "$(midship git-url)" > answer 2>&1; do grep -q "is away" answer; sleep 0.2; done',
  },
  'rotate-keys': { who: 'second', block: 'midship down', script: second },
  'upgrade-servers': { who: 'second', block: second, script: 'midship down' },
};
/** Blocks that move a store, with what they print. `DIR` is the data directory of the machine. */
const printed: readonly (readonly [string, readonly RegExp[]])[] = [
  [
    'etcdctl del --prefix /midship/',
    [
      /^moved \d+ objects from etcd:\/\/127\.0\.0\.1:2379 to DIR; those in etcd stay until you remove them$/m,
      /^Start it with: midship server --data-dir DIR$/m,
      /^moved \d+ objects to etcd:\/\/127\.0\.0\.1:2379; the database is kept as DIR\/state\.db\.migrated$/m,
      /^Start it with: midship server --store etcd:\/\/127\.0\.0\.1:2379 --data-dir DIR$/m,
    ],
  ],
  [
    'restore before-upgrade.backup',
    [
      /^restored revision \d+ of \S+, made by Midship \S+$/m,
      /^Start it with: midship server --store etcd:\/\/127\.0\.0\.1:2379\/before --data-dir DIR$/m,
    ],
  ],
  [
    'restore servers.backup',
    [
      /^Start it with: midship up --data-dir DIR\/\.\.\/into-sqlite$/m,
      /^Start it with: midship server --store etcd:\/\/127\.0\.0\.1:2379\/copy --data-dir DIR\/\.\.\/into-etcd$/m,
    ],
  ],
  ['migrate --from etcd://127.0.0.1:2379/moved', [/^moved \d+ objects to etcd:\/\/127\.0\.0\.1:2379\/moved; .+\.migrated$/m]],
];

describe.skipIf(whyNoPage !== undefined)(`the pages on three control planes (skipped: ${whyNoPage ?? 'it runs here'})`, () => {
  const machines = new Machines(...order);
  const processes: number[] = [];
  let home: string;
  let directories: readonly string[];
  beforeAll(async () => {
    await machines.create();
    home = await temporaryDirectory('pages');
    await mkdir(join(home, 'bin'));
    await writeFile(join(home, 'bin/midship'), `#!/bin/sh\nexec ${process.execPath} ${program} "$@"\n`, { mode: 0o755 });
    const roots = await Promise.all(order.map((name) => temporaryDirectory(name)));
    directories = roots.map((root) => join(root, 'midship'));
    // Debian's package makes it.
    for (const root of roots) await mkdir(join(root, 'etcd'));
  });
  afterAll(async () => {
    for (const pid of processes) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended.
      }
    }
    await machines.remove();
  });

  /** Runs a script on a machine, with its own place for /var/lib, and notes what it has started. */
  async function runOn(n: number, script: string) {
    const directory = directories[n - 1] ?? '';
    const variables = { HOME: home, PATH: `${home}/bin:${process.env.PATH}`, MIDSHIP_DATA_DIR: directory };
    const text = script
      .replaceAll('/var/lib/', join(directory, '../'))
      .replaceAll(/192\.168\.1\.1(\d)/g, (_, at: string) => machines.address(Number(at) + 1))
      .replaceAll('--token-file server-token', `--token-file ${directories[0]}/server-token`);
    const ended = await machines.runWith(n, variables, [
      'bash',
      '-euo',
      'pipefail',
      '-c',
      `cd ~\n${text}\nif [ -n "\${!:-}" ]; then echo "pid $!"; fi`,
    ]);
    const pid = /^pid (\d+)$/m.exec(ended.stdout)?.[1];
    if (pid !== undefined) processes.push(Number(pid));
    const endpoints = await readFile(join(directory, 'endpoints.json'), 'utf8').catch(() => undefined);
    if (endpoints !== undefined) processes.push((JSON.parse(endpoints) as { readonly pid: number }).pid);
    return { ...ended, text };
  }

  const authority = (n: number): Promise<string> => readFile(join(directories[n - 1] ?? '', 'pki/ca.crt'), 'utf8');
  const seen = (n: number) => runOn(n, `kubectl --kubeconfig /var/lib/midship/kubeconfig get configmap seen -o 'jsonpath={.data.a}'`);

  /** Asks a server by credentials alone, whoever signed its certificate: without them, its answer is Unauthorized. */
  const askBy = (n: number, credentials: string) =>
    runOn(n, `kubectl ${credentials} --server https://127.0.0.1:6443 --insecure-skip-tls-verify get configmap seen -o name`);
  const stolen = ['--kubeconfig former', '--kubeconfig /dev/null --token "$(cat former-token)"'];

  it('work line by line, and the objects come through each of them', { timeout: 420_000 }, async () => {
    let former = '';
    for (const page of pages) {
      const text = await readFile(join(import.meta.dirname, `../../docs/how-to/${page}.md`), 'utf8');
      const blocks = [...text.matchAll(/```sh (first|second|third)\n([\s\S]*?)```/g)];
      expect(blocks.length, page).toBeGreaterThan(0);
      for (const [, who = '', block = ''] of blocks) {
        const n = order.indexOf(who) + 1;
        const earlier = who === before[page]?.who && block.startsWith(before[page].block) ? before[page].script : ':';
        const prepared = await runOn(n, earlier);
        expect(prepared.code, `${earlier}\n${prepared.stderr}`).toBe(0);
        const ended = await runOn(n, block);
        expect(ended.code, `${ended.text}\n${ended.stdout}\n${ended.stderr}`).toBe(0);
        if (block.includes('endpointslices')) for (const at of [1, 2, 3]) expect(ended.stdout).toContain(machines.address(at));
        const output = ended.stdout.replaceAll(directories[n - 1] ?? '', 'DIR').replaceAll(join(directories[n - 1] ?? '', '..'), 'DIR/..');
        for (const [of, patterns] of printed) if (block.includes(of)) for (const pattern of patterns) expect(output).toMatch(pattern);
      }
      const running = { 'three-control-planes': [1, 3], 'backup-move-upgrade': [] }[page] ?? [1, 2, 3];
      for (const n of running) expect(await seen(n), page).toMatchObject({ code: 0, stdout: 'b' });
      // The theft on the next page has made another authority, and the others keep it.
      if (page === 'three-control-planes') {
        former = await authority(1);
        const [here, pushed] = await Promise.all([
          runOn(1, 'git ls-remote "$(midship git-url)" main'),
          runOn(3, 'git -C other rev-parse HEAD'),
        ]);
        expect(here.stdout.split('\t')[0]).toBe(pushed.stdout.trim());
        await runOn(2, 'midship down');
        await runOn(1, 'cp /var/lib/midship/kubeconfig former && kubectl --kubeconfig former create token default > former-token');
      } else for (const n of [1, 2, 3]) expect(await authority(n), page).not.toContain(former);
      for (const n of running) {
        const answers = await Promise.all(stolen.map((credentials) => askBy(n, credentials)));
        const [byCertificate, byToken] = answers.map(({ stdout, stderr }) => stdout + stderr);
        // The account may read nothing, and is known.
        if (page === 'three-control-planes')
          expect([byCertificate, byToken]).toEqual(['configmap/seen\n', expect.stringContaining('Forbidden')]);
        else expect([byCertificate, byToken]).toEqual(stolen.map(() => expect.stringMatching(/Unauthorized|must be logged in/)));
      }
      expect(await authority(2)).toBe(page === 'three-control-planes' ? former : await authority(1));
    }
  });

  it('refuse a prefix in use and a full disk in three lines, and change nothing', async () => {
    const root = join(directories[0] ?? '', '..');
    const before = (await runOn(1, 'etcdctl get --prefix --keys-only /copy/')).stdout;
    const used = await runOn(
      1,
      'midship restore servers.backup --data-dir /var/lib/again --store etcd://127.0.0.1:2379/copy --token-file server-token',
    );
    expect(used).toMatchObject({
      code: 2,
      stdout: '',
      stderr: [
        '✗ the prefix /copy in etcd is not empty',
        `  It holds a cluster, or filling it from a backup or another store broke off. Nothing in ${root}/again was changed.`,
        '  Name another one (--store etcd://HOST/PREFIX). If nothing in it is needed: etcdctl del --prefix /copy/',
        '',
      ].join('\n'),
    });
    expect(existsSync(join(root, 'again'))).toBe(false);
    expect((await runOn(1, 'etcdctl get --prefix --keys-only /copy/')).stdout).toBe(before);

    // The objects have moved there and back, and the server copies its Git repository for a backup.
    expect(await runOn(1, 'midship server -d --store etcd://127.0.0.1:2379/before --disable node,ingress,servicelb')).toMatchObject({
      code: 0,
    });
    const copies = join(directories[0] ?? '', 'backup');
    const full = await runOn(
      1,
      `mkdir -p /var/lib/midship/backup
mount -t tmpfs -o size=4k tmpfs /var/lib/midship/backup
trap 'umount /var/lib/midship/backup' EXIT
midship backup full.backup`,
    );
    expect(full).toMatchObject({
      code: 2,
      stdout: '',
      stderr: [
        '✗ the disk is full',
        `  The copies that a backup is made of have no room in ${copies}; they are removed, and no backup was made.`,
        '  Free some space on the disk of the data directory: the copies need as much as the store and the repository.',
        '',
      ].join('\n'),
    });
    expect((await readdir(home)).filter((name) => name.startsWith('full.backup'))).toEqual([]);
    expect(await seen(1)).toMatchObject({ code: 0, stdout: 'b' });
  });
});
