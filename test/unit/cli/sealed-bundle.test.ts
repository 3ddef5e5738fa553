import { describe, expect, it } from 'vitest';
import { deriveKey, openBundle, saltOf, sealBundle } from '../../../src/cli/sealed-bundle.ts';

const bundle = {
  createdAt: '2026-01-01T00:00:00.000Z',
  network: { clusterCidr: '10.42.0.0/16', serviceCidr: '10.43.0.0/16', networkBackend: 'vxlan' },
  files: { 'pki/ca.key': 'very private' },
};
const place = { secret: 'correct-horse-battery', prefix: '/midship' };

describe('the keys of a cluster in its store', () => {
  it('open with their secret at their place, and show nothing without', async () => {
    const text = await sealBundle(bundle, place);
    expect(text).not.toContain('private');
    expect(text).not.toContain(Buffer.from('very private').toString('base64').slice(0, 12));
    expect(await openBundle(text, place)).toEqual({ bundle, secret: place.secret, rotatedAt: undefined });
  });

  it('open with a key that was made of the secret before, which spares making it', async () => {
    const derived = await deriveKey(place.secret);
    const text = await sealBundle(bundle, { ...place, derived });
    expect(saltOf(text)).toBe(derived.salt);
    expect((await openBundle(text, { ...place, secret: 'is not looked at', derived })).bundle).toEqual(bundle);
    expect((await openBundle(text, { ...place, derived: { ...derived, key: 'damaged' } })).bundle).toEqual(bundle);
    expect(saltOf('{}')).toBeUndefined();
  });

  it('open with no other secret, at no other place, and not when a bit of them is another', async () => {
    const text = await sealBundle(bundle, place);
    const changed = JSON.parse(text) as { data: string };
    const bytes = Buffer.from(changed.data, 'base64');
    bytes[3] = (bytes[3] ?? 0) ^ 1;
    const wrong = { reason: 'secret' };
    await expect(openBundle(text, { ...place, secret: 'correct-horse-batterz' })).rejects.toMatchObject(wrong);
    await expect(openBundle(text, { ...place, prefix: '/other' })).rejects.toMatchObject(wrong);
    await expect(openBundle(JSON.stringify({ ...changed, data: bytes.toString('base64') }), place)).rejects.toMatchObject(wrong);
    await expect(openBundle(JSON.stringify({ ...changed, tag: 'AAAA' }), place)).rejects.toMatchObject(wrong);
  });

  it('are refused when a later version wrote them, or when the record is damaged', async () => {
    await expect(openBundle('{"format":2}', place)).rejects.toMatchObject({ reason: 'format' });
    for (const text of ['', 'null', '{"format":1}', '[1]'])
      await expect(openBundle(text, place)).rejects.toMatchObject({ reason: 'damage' });
  });
});
