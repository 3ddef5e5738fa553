import { type ApiRequest, type HandlerContext, refOf, representationOf, requestInfoOf } from './api-request.ts';
import { writeOptionsOf } from './options.ts';
import { readObject } from './request-body.ts';
import { withWarnings } from './respond.ts';
import { sendObject } from './send-object.ts';

/** PUT of an object, or of its `status`, `scale` or `finalize`. */
export async function handleUpdate(request: ApiRequest, context: HandlerContext): Promise<void> {
  representationOf(request);
  const options = writeOptionsOf(request.query, 'UpdateOptions');
  const { object, duplicateFields } = readObject(request);
  let code = 200;
  const onCreated = (): void => {
    code = 201;
  };
  const write = { ...requestInfoOf(request), ...options, duplicateFields, onCreated };
  const updated = await withWarnings(request.response, (onWarning) =>
    context.kubeApi.update({ ...write, onWarning }, refOf(request), object),
  );
  sendObject(request, context, { code, object: updated });
}
