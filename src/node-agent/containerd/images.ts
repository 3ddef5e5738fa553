import { createLimit } from '../../base/concurrency.ts';
import { GrpcError, grpcCodes } from '../../base/grpc.ts';
import { type ContainerRuntime, ImageError, type LocalImage } from '../container-runtime.ts';
import { parseImageName } from '../registry-credentials.ts';
import type { CriAuth, CriClient, CriImage } from './cri-client.ts';

/** Several at once, so that one slow registry holds up no other, and few, since they share a line and a disk. */
const pullsAtOnce = 4;

export interface ImagesOptions {
  readonly client: CriClient;
  /** Aborted when the runtime closes: it ends the pulls. */
  readonly signal: AbortSignal;
}

/** The images of a runtime: those on the machine, and those of registries. */
export function createImages({ client, signal }: ImagesOptions): Pick<Required<ContainerRuntime>, 'findImage' | 'pullImage'> {
  const limitPulls = createLimit(pullsAtOnce);

  return {
    async findImage(image) {
      if (!isImageName(image)) {
        // In the words of the kubelet, which reads names by itself: the runtime only says that it has no such image.
        const why = `couldn't parse image name "${image}": invalid reference format`;
        throw new ImageError('InvalidImageName', `Failed to apply default image tag "${image}": ${why}`);
      }
      const found = await client.imageStatus(image).catch(rethrow);
      return found === undefined ? undefined : localImageOf(found);
    },

    async pullImage(image, credentials) {
      // The address keeps the credentials from mirrors, which are other hosts.
      const auth: CriAuth | undefined = credentials === undefined ? undefined : { ...credentials, serverAddress: serverOf(image) };
      const reference = await limitPulls(() => client.pullImage(image, auth, signal)).catch(rethrow);
      const pulled = await client.imageStatus(reference).catch(rethrow);
      if (pulled === undefined) throw new ImageError('ErrImagePull', `image ${reference} went away after its pull`);
      return localImageOf(pulled);
    },
  };
}

const host = String.raw`(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::\d+)?`;
const part = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const form = new RegExp(String.raw`^(?:${host}/)?${part}(?:/${part})*(?::\w[\w.-]{0,127})?(?:@[A-Za-z][\w+.-]*:[0-9A-Fa-f]{32,})?$`);
const maxNameLength = 1_024;

/** @see https://pkg.go.dev/github.com/distribution/reference */
const isImageName = (image: string): boolean => image.length <= maxNameLength && form.test(image);

function localImageOf({ repoDigests, id, size, uid, username }: CriImage): LocalImage {
  // The runtime gives a number, or else a name; neither means root.
  const user = username === '' ? { id: uid?.value ?? 0, name: '' } : { name: username };
  return { reference: repoDigests[0] ?? id, sizeBytes: size, user };
}

/** As containerd writes the host that it asks. */
function serverOf(image: string): string {
  const { registry } = parseImageName(image);
  return `https://${registry === 'docker.io' ? 'registry-1.docker.io' : registry}`;
}

function rethrow(err: unknown): never {
  if (!(err instanceof GrpcError)) throw err;
  if (err.code === grpcCodes.invalidArgument || /invalid reference format/.test(err.message))
    throw new ImageError('InvalidImageName', err.message, { cause: err });
  throw new ImageError('ErrImagePull', err.message, { cause: err });
}
