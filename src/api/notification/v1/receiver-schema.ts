import type { Schema } from '../../../machinery/schema.ts';
import { durationPattern, schemaOf } from '../../flux.ts';
import { crossNamespaceReferenceSchema } from '../cross-namespace-reference.ts';

/** The types of Flux, and `gitea` and `gogs`, whose signatures have headers of their own. */
export const receiverTypes = [
  'generic',
  'generic-hmac',
  'github',
  'gitlab',
  'bitbucket',
  'harbor',
  'dockerhub',
  'quay',
  'gcr',
  'nexus',
  'acr',
  'cdevents',
  'gitea',
  'gogs',
] as const;

/** Flux's published fields of Receiver v1. */
export const receiverSchema: Schema = schema();

function schema(): Schema {
  const { text, matching, flag, integer, choice, list, object, reference, kind, conditions } = schemaOf;
  const spec = object(
    {
      events: list(text(), 'Kinds of events to act on; all when empty.'),
      interval: { ...matching(durationPattern, 'Interval for reading the Secret.'), default: '10m' },
      resourceFilter: text('Expression in CEL that an object has to fulfil.'),
      resources: list(crossNamespaceReferenceSchema, 'Objects to reconcile on a request.'),
      secretRef: reference('Secret with the token in its key token.'),
      suspend: flag('Take no events.'),
      type: choice(receiverTypes, 'Sender, which decides the verification of requests.'),
    },
    { required: ['resources', 'secretRef', 'type'], description: 'A webhook address, and the objects that it triggers.' },
  );
  const status = object(
    {
      conditions,
      lastHandledReconcileAt: text('Last request by annotation that was answered.'),
      observedGeneration: integer(),
      webhookPath: text('Path that events are posted to.'),
    },
    { description: 'Last observed state.' },
  );
  return kind('A webhook that makes objects look for changes at once.', { spec, status, isSpecOptional: true });
}
