import type { KindDefinition } from '../../machinery/kind.ts';
import type { DeleteOutcome } from '../kube-api.ts';
import { type ApiRequest, type HandlerContext, refOf, representationOf, requestInfoOf } from './api-request.ts';
import { deleteOptionsOf, listRequestOf } from './options.ts';
import { readDeleteBody } from './request-body.ts';
import { sendValue, withWarnings } from './respond.ts';
import { sendList, sendObject } from './send-object.ts';

/** DELETE of one object. */
export async function handleDelete(request: ApiRequest, context: HandlerContext): Promise<void> {
  const representation = representationOf(request);
  const options = deleteOptionsOf(request.query, readDeleteBody(request));
  const write = { ...requestInfoOf(request), dryRun: options.dryRun };
  const outcome = await withWarnings(request.response, (onWarning) =>
    context.kubeApi.delete({ ...write, onWarning }, refOf(request), options),
  );
  if (outcome.type === 'object') sendObject(request, context, { code: 200, object: outcome.object });
  else
    sendValue(
      request.response,
      { code: 200, value: successOf(request.kind, outcome) },
      {
        encoding: representation.encoding,
        pretty: representation.pretty,
      },
    );
}

const successOf = ({ group, resource }: KindDefinition, { ref, uid }: DeleteOutcome & { readonly type: 'status' }): unknown => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Success',
  details: { name: ref.name, ...(group === '' ? {} : { group }), kind: resource, uid },
});

/** DELETE of a collection: answers with the objects that were deleted. */
export async function handleDeleteCollection(request: ApiRequest, context: HandlerContext): Promise<void> {
  representationOf(request);
  const options = deleteOptionsOf(request.query, readDeleteBody(request));
  const list = listRequestOf(request.query, request.target.namespace);
  const write = { ...requestInfoOf(request), dryRun: options.dryRun };
  const page = await context.kubeApi.deleteCollection(write, options, list);
  await sendList(request, context, page);
}
