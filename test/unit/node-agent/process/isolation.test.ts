import { describe, expect, it } from 'vitest';
import { hostIdOf, idsOf, placesOf } from '../../../../src/node-agent/process/isolation.ts';

describe('the ids of pods on the machine', () => {
  it('are from a range of nobody, as far as this process may use one', () => {
    expect(idsOf('         0          0 4294967295\n')).toEqual({ first: 0x70000000, count: 0x10000000 });
    expect(idsOf('0 100000 65536\n')).toEqual({ first: 62_000, count: 3_500 });
    expect(idsOf('0 1000 1\n')).toBeUndefined();
  });

  it('stay the same for a pod, and are others for another', () => {
    const ids = { first: 1_000_000, count: 1 << 28 };
    const first = hostIdOf(ids, 'a4c1');
    expect(hostIdOf(ids, 'a4c1')).toBe(first);
    expect(hostIdOf(ids, 'a4c2')).not.toBe(first);
    expect(first).toBeGreaterThanOrEqual(ids.first);
    expect(first).toBeLessThan(ids.first + ids.count);
  });
});

describe('the places of a directory', () => {
  const mount = (device: string, root: string, point: string): string => `1 1 ${device} ${root} ${point} rw - ext4 /dev/x rw`;
  const mountInfo = [
    mount('8:1', '/', '/'),
    mount('8:2', '/', '/srv'),
    mount('8:2', '/data', '/opt/seen'),
    mount('8:2', '/data/cluster/pki', '/usr/share/a\\040b'),
    mount('8:1', '/home', '/opt/home'),
  ].join('\n');

  it('are all mounts that show it, or a part of it', () => {
    expect(placesOf('/srv/data/cluster', mountInfo)).toEqual(['/srv/data/cluster', '/opt/seen/cluster', '/usr/share/a b']);
    expect(placesOf('/home/ann/.midship', mountInfo)).toEqual(['/home/ann/.midship', '/opt/home/ann/.midship']);
    expect(placesOf('/opt/midship', mountInfo)).toEqual(['/opt/midship']);
  });
});
