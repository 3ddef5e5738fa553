import type { Pod, Volume } from '../api/core/v1/pod.ts';
import type { AgentContext } from './agent-context.ts';
import { ImageError } from './container-runtime.ts';
import { ensureImage } from './image-pull.ts';
import { recordPodEvent } from './pod-events.ts';

/** Volumes that are the files of an image. */
export interface ImageVolumes {
  /** Pulls the image as its policy says, and mounts it. @throws Error when the image cannot be had */
  mount(pod: Pod, volume: ImageVolume, directory: string): Promise<void>;
  unmount(directory: string): Promise<void>;
}

/** @see https://kubernetes.io/docs/concepts/storage/volumes/#image */
export type ImageVolume = Volume & { readonly image?: { readonly reference?: string; readonly pullPolicy?: string } };

/** @param contextOf  asked when a pod has such a volume */
export function createImageVolumes(contextOf: () => AgentContext): ImageVolumes {
  return {
    async mount(pod, { name, image: source }, directory) {
      const context = contextOf();
      const { reference: image = '', pullPolicy } = source ?? {};
      try {
        const { reference } = await ensureImage({
          context,
          pod,
          container: { name, image, ...(pullPolicy === undefined ? {} : { imagePullPolicy: pullPolicy }) },
          event: (type, reason, message) => recordPodEvent(context, pod, { type, reason, message }),
        });
        await context.runtime.images?.mount(reference, directory);
      } catch (err) {
        if (err instanceof ImageError) throw new Error(`Failed to pull image "${image}": ${err.message}`, { cause: err });
        throw err;
      }
    },
    async unmount(directory) {
      await contextOf().runtime.images?.unmount(directory);
    },
  };
}

/** References of the images that volumes of these pods are made of. */
export const volumeImagesOf = (pods: readonly Pod[]): ReadonlySet<string> =>
  new Set(pods.flatMap(({ spec }) => ((spec.volumes ?? []) as readonly ImageVolume[]).flatMap(({ image }) => image?.reference ?? [])));
