import { type ApiRequest, type HandlerContext, refOf, representationOf, requestInfoOf } from './api-request.ts';
import { writeOptionsOf } from './options.ts';
import { readObject } from './request-body.ts';
import { sendValue, withWarnings } from './respond.ts';
import { sendObject } from './send-object.ts';

/** POST to a collection. */
export async function handleCreate(request: ApiRequest, context: HandlerContext): Promise<void> {
  const { target, response } = request;
  representationOf(request);
  const options = writeOptionsOf(request.query, 'CreateOptions');
  const { object, duplicateFields } = readObject(request);
  const created = await withWarnings(response, (onWarning) =>
    context.kubeApi.create({ ...requestInfoOf(request), ...options, duplicateFields, onWarning }, target.namespace, object),
  );
  sendObject(request, context, { code: 201, object: created });
}

/** POST to a subresource that does something: `binding`, `eviction`, `token`. */
export async function handleCreateSubresource(request: ApiRequest, context: HandlerContext): Promise<void> {
  const { response } = request;
  const { encoding, pretty } = representationOf(request);
  const { dryRun, ...options } = writeOptionsOf(request.query, 'CreateOptions');
  const { object, duplicateFields } = readObject(request);
  const write = { ...requestInfoOf(request), ...options, dryRun: dryRun || asksForDryRun(object), duplicateFields };
  const answer = await withWarnings(response, (onWarning) =>
    context.kubeApi.createSubresource({ ...write, onWarning }, refOf(request), object),
  );
  sendValue(response, { code: 201, value: answer }, { encoding, pretty });
}

/** An Eviction carries the options of the deletion in its body. */
function asksForDryRun(body: object): boolean {
  const { deleteOptions } = body as { readonly deleteOptions?: { readonly dryRun?: unknown } };
  return Array.isArray(deleteOptions?.dryRun) && deleteOptions.dryRun.includes('All');
}
