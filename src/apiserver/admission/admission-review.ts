import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { apiVersionOf } from '../../machinery/resource.ts';
import type { AdmissionRequest } from './admission.ts';
import type { Match } from './match.ts';

/** A write as webhooks and expressions see it: the `request` of an `admission.k8s.io/v1` AdmissionReview. */
export function reviewRequestOf(request: AdmissionRequest, match: Match, uid: string): Readonly<Record<string, unknown>> {
  const { operation, subresource, namespace, name, isGenerated, user, dryRun } = request;
  const asked = request.servedAs ?? request.kind;
  const { uid: userUid, groups, extra } = user;
  return {
    uid,
    kind: bodyKindOf(match.kind, subresource),
    resource: resourceOf(match.kind),
    ...(subresource === '' ? {} : { subResource: subresource }),
    requestKind: bodyKindOf(asked, subresource),
    requestResource: resourceOf(asked),
    ...(subresource === '' ? {} : { requestSubResource: subresource }),
    ...(name === '' || isGenerated ? {} : { name }),
    ...(namespace === undefined ? {} : { namespace }),
    operation: operation.toUpperCase(),
    userInfo: {
      username: user.name,
      ...(userUid === undefined || userUid === '' ? {} : { uid: userUid }),
      groups,
      ...(extra === undefined ? {} : { extra }),
    },
    object: operation === 'delete' ? null : match.object,
    oldObject: match.before ?? null,
    dryRun,
    options: optionsOf(request),
  };
}

const resourceOf = ({ group, version, resource }: KindDefinition): object => ({ group, version, resource });

/** Kind of the body: `scale`, `eviction` and other subresources have kinds of their own. */
function bodyKindOf({ group, version, kind, subresources }: KindDefinition, subresource: string): object {
  const body = subresources.find(({ name }) => name === subresource)?.body;
  return body === undefined ? { group, version, kind } : { group: body.group, version: body.version, kind: body.kind };
}

const optionKinds = { create: 'CreateOptions', update: 'UpdateOptions', delete: 'DeleteOptions' } as const;

function optionsOf({ operation, dryRun, fieldManager, deleteOptions }: AdmissionRequest): object | null {
  if (operation === 'connect') return null;
  const { gracePeriodSeconds, propagationPolicy, preconditions } = deleteOptions ?? {};
  return {
    kind: optionKinds[operation],
    apiVersion: 'meta.k8s.io/v1',
    ...(dryRun ? { dryRun: ['All'] } : {}),
    ...(operation === 'delete' || fieldManager === undefined ? {} : { fieldManager }),
    ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    ...(propagationPolicy === undefined ? {} : { propagationPolicy }),
    ...(preconditions === undefined ? {} : { preconditions }),
  };
}

/** A new object as its writer sent it: the server's own fields, a name it makes among them, come after mutating steps. */
export function withoutSystemFields(object: KubeObject, isGenerated: boolean): KubeObject {
  const { uid: _, creationTimestamp: __, generation: ___, ...metadata } = object.metadata;
  if (!isGenerated) return { ...object, metadata };
  const { name: ____, ...unnamed } = metadata;
  return { ...object, metadata: unnamed as KubeObject['metadata'] };
}

/** `{"kind":"AdmissionReview",…}` */
export const reviewOf = (request: Readonly<Record<string, unknown>>): string =>
  JSON.stringify({ kind: 'AdmissionReview', apiVersion: apiVersionOf({ group: 'admission.k8s.io', version: 'v1' }), request });
