import { createLimit } from '../../base/concurrency.ts';
import { GrpcError, grpcCodes } from '../../base/grpc.ts';
import { type ContainerRuntime, ImageError } from '../container-runtime.ts';
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
      const found = await client.imageStatus(image).catch(rethrow);
      return found === undefined ? undefined : referenceOf(found);
    },

    async pullImage(image, credentials) {
      // The address keeps the credentials from mirrors, which are other hosts.
      const auth: CriAuth | undefined = credentials === undefined ? undefined : { ...credentials, serverAddress: serverOf(image) };
      const imageRef = await limitPulls(() => client.pullImage(image, auth, signal)).catch(rethrow);
      const sizeBytes = (await client.imageStatus(imageRef).catch(rethrow))?.size ?? 0;
      return { imageRef, sizeBytes };
    },
  };
}

const referenceOf = ({ repoDigests, id }: CriImage): string => repoDigests[0] ?? id;

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
