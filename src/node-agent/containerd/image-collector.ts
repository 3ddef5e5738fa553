import type { Clock } from '../../base/clock.ts';
import type { ContainerRuntime } from '../container-runtime.ts';
import type { FileSystemSpace } from '../disk-pressure.ts';
import type { CriClient, CriContainer, CriImage } from './cri-client.ts';

export interface ImageCollectorOptions {
  readonly client: Pick<CriClient, 'listImages' | 'listContainers' | 'removeImage'>;
  /** The file system of the images. */
  readonly measure: () => Promise<FileSystemSpace>;
  readonly clock: Pick<Clock, 'now'>;
}

/** The agent's knowledge of an image. An agent that starts has none, and waits the shortest age again. */
interface ImageRecord {
  readonly seenAt: number;
  usedAt: number;
}

/** The kubelet's numbers. */
const highShare = 0.85;
const lowShare = 0.8;
const minAgeMs = 2 * 60_000;

/**
 * Removes images that no container uses, once the disk is 85 % full, until it is 80 % full: first those unused for longest. Each call
 * is one look; call it every minute. With `all` it removes every unused image, as a kubelet whose disk runs short.
 *
 * @returns text for an Event when too little could be removed
 * @see Kubernetes documentation, "Garbage Collection", containers and images
 */
export function createImageCollector({ client, measure, clock }: ImageCollectorOptions): NonNullable<ContainerRuntime['collectImages']> {
  let records = new Map<string, ImageRecord>();

  return async (kept = new Set(), { all } = { all: false }) => {
    const [images, containers] = await Promise.all([client.listImages(), client.listContainers({})]);
    const now = clock.now();
    const names = namesInUse(containers);
    const isUsed = ({ id, repoTags, repoDigests }: CriImage): boolean =>
      [id, ...repoTags, ...repoDigests].some((name) => names.has(name) || kept.has(name));
    records = new Map(
      images.map((image) => {
        const { seenAt, usedAt } = records.get(image.id) ?? { seenAt: now, usedAt: 0 };
        return [image.id, { seenAt, usedAt: isUsed(image) ? now : usedAt }];
      }),
    );
    const wanted = all ? Number.POSITIVE_INFINITY : bytesToFree(await measure());
    if (wanted <= 0) return undefined;
    const candidates = images.filter(
      (image) => !isUsed(image) && !image.pinned && (all || now - (records.get(image.id)?.seenAt ?? now) >= minAgeMs),
    );
    const recordOf = ({ id }: CriImage): ImageRecord => records.get(id) ?? { seenAt: now, usedAt: now };
    candidates.sort((one, other) => recordOf(one).usedAt - recordOf(other).usedAt || recordOf(one).seenAt - recordOf(other).seenAt);
    let freed = 0;
    for (const { id, size } of candidates) {
      if (freed >= wanted) break;
      await client.removeImage(id);
      freed += size;
    }
    if (all || freed >= wanted) return undefined;
    return `Failed to garbage collect required amount of images. Attempted to free ${wanted} bytes, but only found ${freed} bytes eligible to free.`;
  };
}

/** A container names its image by the id, or as its pod wrote it. */
const namesInUse = (containers: readonly CriContainer[]): ReadonlySet<string> =>
  new Set(containers.flatMap(({ imageRef, image }) => [imageRef, image.image]));

/** 0 while the disk is not full enough. */
export function bytesToFree({ sizeBytes, availableBytes }: FileSystemSpace): number {
  // A file system that says nothing of itself.
  if (sizeBytes <= 0) return 0;
  return 1 - availableBytes / sizeBytes < highShare ? 0 : Math.ceil(sizeBytes * (1 - lowShare) - availableBytes);
}
