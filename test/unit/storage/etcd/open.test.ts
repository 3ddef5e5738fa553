import { expect, it } from 'vitest';
import { checkMembers } from '../../../../src/storage/etcd/open.ts';

const check = (version: string): Promise<void> =>
  checkMembers({ status: async () => ({ version }), members: async () => [] } as unknown as Parameters<typeof checkMembers>[0]);

it.each(['3.5.7', '3.4.34', '2.3.8', '3.5.7-rc.1'])('etcd %s is too old, which says what to upgrade to', async (version) => {
  await expect(check(version)).rejects.toMatchObject({
    name: 'StorageError',
    message: `etcd ${version} is too old`,
    why: 'Before 3.5.8 it loses changes of watches (etcd-io/etcd#15220).',
    hint: 'Upgrade etcd to 3.5.8 or later.',
  });
});

it.each(['3.5.8', '3.5.16', '3.6.0', '4.0.0'])('etcd %s is taken', async (version) => {
  await expect(check(version)).resolves.toBeUndefined();
});
