import { beforeEach, describe, expect, it } from 'vitest';
import type { CriContainer, CriImage } from '../../../../src/node-agent/containerd/cri-client.ts';
import { bytesToFree, createImageCollector, type ImageCollectorOptions } from '../../../../src/node-agent/containerd/image-collector.ts';
import { createManualClock, type ManualClock } from '../../../support/manual-clock.ts';

const imageOf = (name: string, size: number, changes: Partial<CriImage> = {}): CriImage => ({
  id: `sha256:${name}`,
  repoTags: [`localhost/${name}:1`],
  repoDigests: [`localhost/${name}@sha256:0${name}`],
  size,
  username: '',
  pinned: false,
  ...changes,
});
const containerOf = (image: string): CriContainer => ({
  id: image,
  podSandboxId: 'sandbox',
  metadata: { name: 'main', attempt: 0 },
  image: { image },
  imageRef: image,
  state: 'CONTAINER_EXITED',
  createdAt: 0,
  labels: {},
  annotations: {},
});

/** A disk of 1,000 bytes, of which images fill a part. */
class World {
  images: CriImage[] = [];
  containers: CriContainer[] = [];
  other = 0;
  readonly clock: ManualClock = createManualClock();
  readonly removed: string[] = [];
  readonly collect: ReturnType<typeof createImageCollector>;

  constructor() {
    const client: ImageCollectorOptions['client'] = {
      listImages: async () => this.images,
      listContainers: async () => this.containers,
      removeImage: async (id) => {
        this.removed.push(id);
        this.images = this.images.filter((image) => image.id !== id);
      },
    };
    const used = (): number => this.images.reduce((sum, { size }) => sum + size, this.other);
    const measure = async () => ({ sizeBytes: 1_000, availableBytes: 1_000 - used() });
    this.collect = createImageCollector({ client, measure, clock: this.clock });
  }
}

describe('the collection of images', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });

  it('begins at 85 % and ends at 80 %', () => {
    expect(bytesToFree({ sizeBytes: 1_000, availableBytes: 151 })).toBe(0);
    expect(bytesToFree({ sizeBytes: 1_000, availableBytes: 150 })).toBe(50);
    expect(bytesToFree({ sizeBytes: 1_000, availableBytes: 0 })).toBe(200);
    expect(bytesToFree({ sizeBytes: 0, availableBytes: 0 })).toBe(0);
  });

  it('removes those unused for longest, and no more than it must', async () => {
    world.images = [imageOf('never', 30), imageOf('lately', 300), imageOf('before', 300), imageOf('now', 200)];
    world.containers = [containerOf('sha256:before'), containerOf('sha256:now')];
    expect(await world.collect()).toBeUndefined();
    world.clock.advance(60_000);
    world.containers = [containerOf('localhost/lately:1'), containerOf('sha256:now')];
    await world.collect();
    world.clock.advance(60_000);
    world.containers = [containerOf('sha256:now')];
    world.other = 130;
    expect(await world.collect()).toBeUndefined();
    expect(world.removed).toEqual(['sha256:never', 'sha256:before']);
  });

  it('leaves those in use, pinned ones and new ones alone, and says that it freed too little', async () => {
    world.images = [imageOf('by-digest', 300), imageOf('pinned', 300, { pinned: true }), imageOf('old', 100)];
    world.containers = [containerOf('localhost/by-digest@sha256:0by-digest')];
    await world.collect();
    world.clock.advance(119_999);
    world.images.push(imageOf('new', 250));
    expect(await world.collect()).toBe(
      'Failed to garbage collect required amount of images. Attempted to free 150 bytes, but only found 0 bytes eligible to free.',
    );
    world.clock.advance(1);
    expect(await world.collect()).toContain('only found 100 bytes');
    expect(world.removed).toEqual(['sha256:old']);
  });

  it('removes all unused ones of a disk that runs short, however full it is', async () => {
    world.images = [imageOf('used', 10), imageOf('pinned', 10, { pinned: true }), imageOf('kept', 10), imageOf('new', 10)];
    world.containers = [containerOf('sha256:used')];
    expect(await world.collect(new Set(['sha256:kept']), { all: true })).toBeUndefined();
    expect(world.removed).toEqual(['sha256:new']);
  });
});
