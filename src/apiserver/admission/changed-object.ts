import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { internalError } from '../../machinery/status-error.ts';
import type { BodyDecoder } from '../registry/decoding.ts';
import { createdMetadata, updatedMetadata } from '../registry/metadata.ts';
import type { AdmissionRequest } from './admission.ts';
import type { Match } from './match.ts';

interface Change {
  readonly match: Match;
  /** In the version that it was shown in. */
  readonly changed: KubeObject;
}

/**
 * The object as a webhook or a policy leaves it, as if the client had sent it so. It is read and defaulted, and the fields of the server
 * are put back.
 *
 * @throws StatusError `InternalError` for what cannot be read as the kind
 */
export function changedObject(
  decoder: BodyDecoder,
  { kind, object: given, before }: AdmissionRequest,
  { match, changed }: Change,
): KubeObject {
  const stored = match.kind === kind ? changed : (match.kind.storedAs?.toStored(changed) ?? changed);
  const decoded = decoder.decode({ request: { fieldValidation: 'Ignore' }, kind, object: stored, refuse: (why) => internalError(why) });
  const metadata =
    before === undefined
      ? createdMetadata(decoded.metadata, {
          name: given.metadata.name,
          namespace: given.metadata.namespace,
          uid: given.metadata.uid ?? '',
          creationTimestamp: given.metadata.creationTimestamp ?? '',
          generation: given.metadata.generation,
        })
      : updatedMetadata(before.metadata, decoded.metadata);
  // The owners of fields were settled before: a change made here belongs to no client.
  const { managedFields } = given.metadata;
  const next: KubeObject = { ...decoded, metadata: managedFields === undefined ? metadata : { ...metadata, managedFields } };
  return kind.defaults?.(next, before) ?? next;
}

/** True for a subresource with a body of its own kind, as `scale` and `binding` have. */
export const bodyIsOther = ({ subresources }: KindDefinition, subresource: string): boolean =>
  subresources.find(({ name }) => name === subresource)?.body !== undefined;
