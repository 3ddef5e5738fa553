import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import {
  formatSigningKeys,
  newSigningKey,
  openSigningKey,
  parseSigningKeys,
  promoteNext,
  signingKeyId,
} from '../../../../src/base/pki/signing-key.ts';

async function newFile(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'signing-key-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  return join(directory, 'sa.key');
}

it('is made once, readable by its owner alone', async () => {
  const path = await newFile();
  const { id } = await openSigningKey(path);
  expect((await openSigningKey(path)).id).toBe(id);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

it('verifies with the next key before it signs, and with former ones until their time is over', async () => {
  const path = await newFile();
  const key = await openSigningKey(path);
  const first = key.id;
  const next = await newSigningKey();
  const file = { ...parseSigningKeys(await readFile(path, 'utf8')), next };
  await writeFile(path, formatSigningKeys(file));
  await key.reload();
  expect(key.id).toBe(first);
  expect(key.others(0).map(({ id }) => id)).toEqual([signingKeyId(next)]);
  const promoted = formatSigningKeys(promoteNext(file, { until: 5_000, now: 1_000 }));
  // The former private key is in no file any more.
  expect(promoted.match(/PRIVATE KEY/g)).toHaveLength(2);
  await writeFile(path, promoted);
  await key.reload();
  expect(key.id).toBe(signingKeyId(next));
  expect(key.others(4_999).map(({ id }) => id)).toEqual([first]);
  expect(key.others(5_000)).toEqual([]);
});

it('stays what it was when its file is damaged', async () => {
  const path = await newFile();
  const key = await openSigningKey(path);
  const { id } = key;
  await writeFile(path, 'nonsense');
  await expect(key.reload()).rejects.toThrow('has no private key');
  expect(key.id).toBe(id);
});
