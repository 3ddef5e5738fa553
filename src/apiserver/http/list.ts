import { type ApiRequest, type HandlerContext, representationOf, requestInfoOf } from './api-request.ts';
import { listRequestOf } from './options.ts';
import { sendList } from './send-object.ts';

/** GET of a collection, of one namespace or of all. */
export async function handleList(request: ApiRequest, context: HandlerContext): Promise<void> {
  representationOf(request);
  const options = listRequestOf(request.query, request.target.namespace);
  const page = await context.kubeApi.list(requestInfoOf(request), options);
  await sendList(request, context, page);
}
