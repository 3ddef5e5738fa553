import type { PatchType } from '../../client/client.ts';
import { StatusError } from '../../machinery/status-error.ts';
import { type ApiRequest, type HandlerContext, isCustomKind, refOf, representationOf, requestInfoOf } from './api-request.ts';
import { applyOptionsOf, writeOptionsOf } from './options.ts';
import { mediaTypeOf, readPatch } from './request-body.ts';
import { withWarnings } from './respond.ts';
import { sendObject } from './send-object.ts';

const patchTypes: Readonly<Record<string, PatchType>> = {
  'application/json-patch+json': 'json',
  'application/merge-patch+json': 'merge',
  'application/strategic-merge-patch+json': 'strategic',
  'application/apply-patch+yaml': 'apply',
};

/** PATCH in its four forms; 201 when an apply patch made the object. */
export async function handlePatch(request: ApiRequest, context: HandlerContext): Promise<void> {
  representationOf(request);
  const type = patchTypeOf(request);
  const options = writeOptionsOf(request.query, 'PatchOptions');
  const { force } = applyOptionsOf(request.query, type === 'apply');
  const { value, duplicateFields } = readPatch(request, type);
  const write = { ...requestInfoOf(request), ...options, force, duplicateFields };
  const { object, created } = await withWarnings(request.response, (onWarning) =>
    context.kubeApi.patch({ ...write, onWarning }, refOf(request), { type, body: value }),
  );
  sendObject(request, context, { code: created ? 201 : 200, object });
}

function patchTypeOf({ raw, kind }: ApiRequest): PatchType {
  const type = patchTypes[mediaTypeOf(raw.headers['content-type'])];
  if (type === undefined) {
    throw new StatusError({ code: 415, reason: 'UnsupportedMediaType', message: '415: Unsupported Media Type', details: {} });
  }
  if (type === 'strategic' && isCustomKind(kind)) {
    const accepted = Object.keys(patchTypes).filter((name) => patchTypes[name] !== 'strategic');
    throw new StatusError({
      code: 415,
      reason: 'UnsupportedMediaType',
      message: `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`,
    });
  }
  return type;
}
