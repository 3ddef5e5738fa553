import { type ApiRequest, type HandlerContext, refOf, representationOf, requestInfoOf } from './api-request.ts';
import { sendObject } from './send-object.ts';

/** GET of one object or of its `status` or `scale`. */
export async function handleGet(request: ApiRequest, context: HandlerContext): Promise<void> {
  // A form that cannot be served is refused before the work is done.
  representationOf(request);
  const resourceVersion = request.query.get('resourceVersion') ?? '';
  const object = await context.kubeApi.get(requestInfoOf(request), refOf(request), resourceVersion);
  sendObject(request, context, { code: 200, object });
}
