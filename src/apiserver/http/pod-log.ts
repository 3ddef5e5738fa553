import { type Node, nodes } from '../../api/core/v1/node.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { badRequest, type FieldError, invalid } from '../../machinery/status-error.ts';
import { apiServerUser } from '../user.ts';
import { type ApiRequest, type HandlerContext, refOf } from './api-request.ts';
import { containerOf, errorOf } from './kubelet-answers.ts';
import type { KubeletClient } from './kubelet-client.ts';
import { booleanOf } from './options.ts';
import { relayAnswer } from './relay-answer.ts';

/**
 * GET of `pods/log`: relays the agent's answer as it comes, for as long as the client follows it.
 *
 * A pod that has no node yet has no log: 204.
 */
export async function handlePodLog(request: ApiRequest, context: HandlerContext, kubelet: KubeletClient): Promise<void> {
  const ref = refOf(request);
  const parameters = logParametersOf(ref.name, request.query);
  // The user was authorized for the subresource; the pod and the node are read by the server.
  const own = { user: apiServerUser, userAgent: 'apiserver', signal: request.signal };
  const pod = (await context.kubeApi.get({ ...own, kind: pods }, ref)) as Pod;
  const container = containerOf(pod, request.query.get('container') ?? '');
  const { nodeName } = pod.spec;
  if (nodeName === undefined || nodeName === '') {
    request.response.writeHead(204).end();
    return;
  }
  const node = (await context.kubeApi.get({ ...own, kind: nodes }, { name: nodeName })) as Node;
  const path = `/containerLogs/${[pod.metadata.namespace ?? '', pod.metadata.name, container].map(encodeURIComponent).join('/')}`;
  const query = parameters.toString();
  const answer = await kubelet.request(node, { path: query === '' ? path : `${path}?${query}`, signal: request.signal });
  if (answer.statusCode !== 200) throw await errorOf(answer, { name: ref.name, kind: 'pods/log', clock: context.clock });
  const { response } = request;
  const { stopping } = context;
  await relayAnswer({ answer, response, stopping, code: 200, headers: { 'content-type': 'text/plain' }, endsWhole: true });
}

const numbers: readonly (readonly [name: string, least: number])[] = [
  ['tailLines', 0],
  ['limitBytes', 1],
  ['sinceSeconds', 1],
];

/** The options that go on to the agent. */
function logParametersOf(pod: string, query: URLSearchParams): URLSearchParams {
  const parameters = new URLSearchParams();
  const errors: FieldError[] = [];
  for (const name of ['follow', 'previous', 'timestamps']) if (booleanOf(query, name)) parameters.set(name, 'true');
  for (const [name, least] of numbers) {
    const text = query.get(name) ?? '';
    if (text === '') continue;
    if (!/^-?\d+$/.test(text)) throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
    if (Number(text) < least) {
      const bound = least === 0 ? 'must be greater than or equal to 0' : 'must be greater than 0';
      errors.push({ type: 'FieldValueInvalid', field: name, message: `Invalid value: ${text}: ${bound}` });
    }
    parameters.set(name, text);
  }
  const sinceTime = query.get('sinceTime') ?? '';
  if (sinceTime !== '') {
    if (Number.isNaN(Date.parse(sinceTime))) throw badRequest(`parsing time ${JSON.stringify(sinceTime)}: cannot parse as RFC 3339`);
    if (parameters.has('sinceSeconds')) {
      const message = 'Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified';
      errors.push({ type: 'FieldValueForbidden', field: '[]', message });
    }
    parameters.set('sinceTime', sinceTime);
  }
  // Upstream has the choice of one stream behind a gate that is off; ignoring it would give the other stream, too.
  if ((query.get('stream') ?? '') !== '') {
    errors.push({ type: 'FieldValueForbidden', field: 'stream', message: 'Forbidden: may not be specified' });
  }
  if (errors.length > 0) throw invalid({ group: '', kind: 'PodLogOptions' }, pod, errors);
  return parameters;
}
