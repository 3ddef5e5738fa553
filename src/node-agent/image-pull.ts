import type { Container, Pod } from '../api/core/v1/pod.ts';
import type { Secret } from '../api/core/v1/secret.ts';
import type { AgentContext } from './agent-context.ts';
import { ImageError, type LocalImage } from './container-runtime.ts';
import { credentialsFor } from './registry-credentials.ts';

type RecordEvent = (type: 'Normal' | 'Warning', reason: string, message: string) => void;

export interface ImagePullOptions {
  readonly context: AgentContext;
  readonly pod: Pod;
  readonly container: Container;
  readonly event: RecordEvent;
}

/**
 * Has the image of a container on the machine, as its pull policy says. Events are in the words of the kubelet.
 *
 * @throws ImageError when the image cannot be had
 */
export async function ensureImage(options: ImagePullOptions): Promise<LocalImage> {
  const { context, container, event } = options;
  const { runtime, metrics } = context;
  const { image = '', imagePullPolicy } = container;
  const mayPull = runtime.pullImage !== undefined && imagePullPolicy !== 'Never';
  if (!mayPull || imagePullPolicy !== 'Always') {
    const found = await runtime.findImage(image).catch((err: unknown) => {
      if (imagePullPolicy === 'Never' && err instanceof ImageError && err.reason === 'ErrImagePull') return undefined;
      throw err;
    });
    if (found !== undefined) {
      event('Normal', 'Pulled', `Container image "${image}" already present on machine and can be accessed by the pod`);
      return found;
    }
  }
  if (!mayPull) throw new ImageError('ErrImageNeverPull', `Container image "${image}" is not present with pull policy of Never`);
  event('Normal', 'Pulling', `Pulling image "${image}"`);
  const startedAt = context.clock.monotonicMs();
  const pulled = await metrics.runtimeOperation('pull_image', () => pull(options, image));
  const took = `${Number(((context.clock.monotonicMs() - startedAt) / 1_000).toFixed(3))}s`;
  const message = `Successfully pulled image "${image}" in ${took} (${took} including waiting). Image size: ${pulled.sizeBytes} bytes.`;
  event('Normal', 'Pulled', message);
  return pulled;
}

/** Tries the credentials of the pod's pull secrets one after the other; without any, those that the machine has. */
async function pull(options: ImagePullOptions, image: string): Promise<LocalImage> {
  const { runtime } = options.context;
  const credentials = credentialsFor(image, pullSecretsOf(options));
  let failure: unknown;
  for (const each of credentials.length === 0 ? [undefined] : credentials) {
    try {
      if (runtime.pullImage !== undefined) return await runtime.pullImage(image, each);
    } catch (err) {
      // A name that cannot be read is wrong with every password.
      if (!(err instanceof ImageError) || err.reason !== 'ErrImagePull') throw err;
      failure = err;
    }
  }
  throw failure;
}

/** A missing secret is no error by itself: the image may be public. */
function pullSecretsOf({ context, pod, event }: ImagePullOptions): readonly Secret[] {
  const found: Secret[] = [];
  const missing: string[] = [];
  for (const { name = '' } of pod.spec.imagePullSecrets ?? []) {
    if (name === '') continue;
    const secret = context.config.secret(pod.metadata.namespace ?? '', name);
    if (secret === undefined) missing.push(name);
    else found.push(secret);
  }
  if (missing.length > 0) {
    const message = `Unable to retrieve some image pull secrets (${missing.join(', ')}); attempting to pull the image may not succeed.`;
    event('Warning', 'FailedToRetrieveImagePullSecret', message);
  }
  return found;
}
