import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { beforeEach, describe, expect, it } from 'vitest';
import { thisProcess } from '../../../src/base/process-identity.ts';
import { openStoppedStore, salvageStoppedStore } from '../../../src/cli/compose/stopped-cluster.ts';
import { repairCheck, repairDelete, repairGet, repairList, repairSalvage } from '../../../src/cli/repair.ts';
import { ensureBareRepository, seedRepository } from '../../../src/gitops/sources/bare-repository.ts';
import { openSqliteStorage } from '../../../src/storage/sqlite/storage.ts';
import { newRepository, temporaryDirectory } from '../../support/git.ts';

describe('midship repair', () => {
  let dataDirectory: string;
  const open = () => openSqliteStorage({ path: join(dataDirectory, 'state.db') });
  const object = (apiVersion: string, kind: string, name: string): string =>
    JSON.stringify({ apiVersion, kind, metadata: { name, namespace: 'web' } });

  beforeEach(async () => {
    dataDirectory = await temporaryDirectory('repair');
    const gitdir = join(dataDirectory, 'git', 'cluster.git');
    await ensureBareRepository(gitdir);
    await seedRepository({ gitdir, directory: (await newRepository('seed', { 'a.yaml': 'kind: A\n' })).directory });
    const storage = await open();
    await storage.create('core/pods/web/a', { text: object('v1', 'Pod', 'a') });
    await storage.create('notification.toolkit.fluxcd.io/receivers/web/hook', { text: object('n/v1', 'Receiver', 'hook') });
    await storage.create('example.com/widgets/web/w', { text: object('example.com/v1', 'Widget', 'w') });
    await storage.create('core/secrets/web/s', { text: 'k8s:enc:aesgcm:v1:key:xxxx' });
    await storage.close();
  });

  const run = async <T extends object>(command: (options: T & Parameters<typeof repairCheck>[0]) => Promise<number>, options: T) => {
    const output = new PassThrough();
    const code = await command({ dataDirectory, openStore: openStoppedStore, salvageStore: salvageStoppedStore, output, ...options });
    output.end();
    return { code, printed: await text(output) };
  };
  const list = async (kind?: string): Promise<readonly string[]> => {
    const { printed } = await run(repairList, { kind });
    return printed
      .split('\n')
      .slice(1, -1)
      .map((line) => line.split(' ')[0] ?? '');
  };

  it('lists objects by the names that the other verbs take, of one kind or of all', async () => {
    expect(await list()).toEqual(['Pod/web/a', 'Secret/web/s', 'widgets.example.com/web/w', 'Receiver/web/hook']);
    for (const kind of ['po', 'pods', 'Pod', 'pod']) expect(await list(kind)).toEqual(['Pod/web/a']);
    for (const kind of ['widgets', 'widgets.example.com']) expect(await list(kind)).toEqual(['widgets.example.com/web/w']);
    await expect(list('receiverz')).rejects.toMatchObject({ exitCode: 2, why: expect.stringContaining('did you mean receiver?') });
  });

  it('prints an object, and no text that is sealed', async () => {
    const { printed } = await run(repairGet, { object: 'Receiver/web/hook' });
    expect(printed).toContain('kind: Receiver\n');
    await expect(run(repairGet, { object: 'Secret/web/s' })).rejects.toThrow('stored encrypted');
    await expect(run(repairGet, { object: 'pod/web/gone' })).rejects.toMatchObject({ message: 'there is no pod/web/gone', exitCode: 1 });
    await expect(run(repairGet, { object: 'pod' })).rejects.toThrow('"pod" names no object');
  });

  it('deletes an object and keeps its text', async () => {
    const { code, printed } = await run(repairDelete, { object: 'receiver/web/hook' });
    const kept = join(dataDirectory, 'repaired', 'notification.toolkit.fluxcd.io_receivers_web_hook-2.json');
    expect({ code, printed }).toEqual({ code: 0, printed: `deleted Receiver/web/hook; its text is in ${kept}\n` });
    expect(await readFile(kept, 'utf8')).toBe(object('n/v1', 'Receiver', 'hook'));
    expect(await list()).toEqual(['Pod/web/a', 'Secret/web/s', 'widgets.example.com/web/w']);
  });

  it('salvages the intact rows of a store that a start refuses, and no other store', async () => {
    const path = join(dataDirectory, 'state.db');
    await expect(run(repairSalvage, {})).rejects.toMatchObject({ message: `${path} can be read`, exitCode: 1 });
    const bytes = await readFile(path);
    await writeFile(path, bytes.fill(0xa5, 0, 64));
    await expect(list()).rejects.toMatchObject({
      message: `${path} is not a database`,
      fix: expect.stringContaining('midship repair salvage'),
    });
    const { code, printed } = await run(repairSalvage, {});
    expect(code).toBe(0);
    expect(printed).toContain(`✓ store: 4 intact rows, up to revision 4; the damaged files are kept as ${path}.damaged\n`);
    expect(await readFile(`${path}.damaged`)).toEqual(bytes);
    expect(await list()).toEqual(['Pod/web/a', 'Secret/web/s', 'widgets.example.com/web/w', 'Receiver/web/hook']);
  });

  it('check is content with what is whole, and names what is not', async () => {
    const good = await run(repairCheck, {});
    expect(good.code).toBe(0);
    expect(good.printed).toMatch(/^✓ store: 4 objects, revision \d+\n✓ repository: .*cluster.git\n$/);
    const storage = await open();
    await storage.create('core/configmaps/web/broken', { text: '{"kind":' });
    await storage.create('core/configmaps/web/other', { text: object('v1', 'ConfigMap', 'another') });
    await storage.close();
    await writeFile(join(dataDirectory, 'git/cluster.git/refs/heads/main'), '0123456789012345678901234567890123456789\n');
    const { code, printed } = await run(repairCheck, {});
    expect(code).toBe(1);
    expect(printed).toContain('ConfigMap/web/broken is not JSON: midship repair delete ConfigMap/web/broken\n');
    expect(printed).toContain('ConfigMap/web/other does not have the name of its key');
    expect(printed).toMatch(/✗ repository: [\s\S]*refs\/heads\/main/);
  });

  it('refuses a cluster that runs, a store that another process has, and a directory that is none', async () => {
    await writeFile(join(dataDirectory, 'endpoints.json'), JSON.stringify(await thisProcess()));
    await expect(run(repairCheck, {})).rejects.toMatchObject({ message: `the cluster of ${dataDirectory} is running`, exitCode: 2 });
    await writeFile(join(dataDirectory, 'endpoints.json'), '');
    const storage = await open();
    await expect(run(repairCheck, {})).rejects.toMatchObject({ name: 'Failure' });
    await storage.close();
    dataDirectory = await temporaryDirectory('repair');
    await expect(run(repairCheck, {})).rejects.toThrow('is not a data directory of Midship');
  });
});
