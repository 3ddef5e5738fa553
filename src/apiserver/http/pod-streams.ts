import { type Node, nodes } from '../../api/core/v1/node.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { badRequest } from '../../machinery/status-error.ts';
import { apiServerUser } from '../user.ts';
import { type ApiRequest, type HandlerContext, refOf, requestInfoOf } from './api-request.ts';
import { containerOf, errorOf } from './kubelet-answers.ts';
import { type KubeletClient, KubeletRefusal } from './kubelet-client.ts';
import { booleanOf } from './options.ts';
import { relayBytes, relayMessages } from './relay.ts';
import { acceptWebSocket, negotiateProtocol } from './upgrade.ts';

export type PodStream = 'exec' | 'attach' | 'portforward';

const remoteCommandProtocols: readonly string[] = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
const tunnelProtocol = 'SPDY/3.1+portforward.k8s.io';
const portForwardProtocols: readonly string[] = [tunnelProtocol, 'v4.channel.k8s.io'];

/** The agent's names of the parameters of exec and attach. */
const flags = { stdin: 'input', stdout: 'output', stderr: 'error', tty: 'tty' } as const;
const maxPathLength = 32 * 1024;

/**
 * `pods/exec`, `pods/attach`, `pods/portforward`: relays a WebSocket between the client and the agent of the pod's node. Everything that
 * can be refused is refused before the upgrade, as an ordinary answer.
 */
export async function handlePodStream(
  request: ApiRequest,
  context: HandlerContext,
  { kubelet, stream }: { readonly kubelet: KubeletClient; readonly stream: PodStream },
): Promise<void> {
  const { target, user, query, signal } = request;
  const ref = refOf(request);
  // A WebSocket is opened with GET, which must not be enough to run commands.
  const { group, version, resource, subresource, namespace, name } = target;
  context.kubeApi.authorize(user, { verb: 'create', group, version, resource, subresource, namespace, name });
  // The user was authorized for the subresource; the pod and the node are read by the server.
  const own = { user: apiServerUser, userAgent: 'apiserver', signal };
  const pod = (await context.kubeApi.get({ ...own, kind: pods }, ref)) as Pod;
  const container = stream === 'portforward' ? undefined : containerOf(pod, query.get('container') ?? '');
  const { nodeName } = pod.spec;
  await context.kubeApi.connect(requestInfoOf(request), ref, connectionOptions(stream, query));
  if (nodeName === undefined || nodeName === '') throw badRequest(`pod ${ref.name} does not have a host assigned`);
  const path = pathOf({ stream, pod, container, query });
  const node = (await context.kubeApi.get({ ...own, kind: nodes }, { name: nodeName })) as Node;
  try {
    // Clients try SPDY when a WebSocket was refused, and show that answer: it should say why, not that SPDY is not spoken.
    if (asksForSpdy(request)) await throwRefusal(kubelet, { node, path, signal });
    const protocol = negotiateProtocol(request, stream === 'portforward' ? portForwardProtocols : remoteCommandProtocols);
    if (protocol === tunnelProtocol) {
      const agent = await kubelet.openSpdy(node, { path, signal });
      const { socket } = agent;
      // No other handler sees a break while the client's side is being opened.
      socket.on('error', () => undefined);
      const client = await acceptWebSocket(request, protocol);
      if (client === undefined) socket.destroy();
      else await relayBytes(client, agent, context);
      return;
    }
    const agent = await kubelet.openSocket(node, { path, protocols: [protocol], signal });
    const client = await acceptWebSocket(request, protocol);
    if (client === undefined) agent.terminate();
    else await relayMessages(client, agent, context);
  } catch (err) {
    if (err instanceof KubeletRefusal) throw await errorOf(err.answer, { name: ref.name, kind: `pods/${stream}`, clock: context.clock });
    throw err;
  }
}

const asksForSpdy = ({ raw, upgrade }: ApiRequest): boolean =>
  upgrade !== undefined && raw.headers.upgrade?.toLowerCase().startsWith('spdy/') === true;

/** @throws KubeletRefusal when the agent has something against the connection */
async function throwRefusal(
  kubelet: KubeletClient,
  { node, path, signal }: { readonly node: Node; readonly path: string; readonly signal: AbortSignal },
): Promise<void> {
  // Without an upgrade an agent only checks.
  const answer = await kubelet.request(node, { path, signal });
  if (answer.statusCode !== 400) throw new KubeletRefusal(answer);
  answer.destroy();
}

const optionKinds = { exec: 'PodExecOptions', attach: 'PodAttachOptions', portforward: 'PodPortForwardOptions' } as const;

/** Options from the query, as admission sees them. */
function connectionOptions(stream: PodStream, query: URLSearchParams): KubeObject {
  const container = query.get('container') ?? '';
  const asked: Record<string, unknown> =
    stream === 'portforward'
      ? { ports: query.getAll('ports').map(Number) }
      : {
          ...Object.fromEntries(Object.keys(flags).flatMap((name) => (booleanOf(query, name) ? [[name, true]] : []))),
          ...(container === '' ? {} : { container }),
          ...(stream === 'exec' ? { command: query.getAll('command') } : {}),
        };
  return { kind: optionKinds[stream], apiVersion: 'v1', ...asked } as unknown as KubeObject;
}

interface StreamPath {
  readonly stream: PodStream;
  readonly pod: Pod;
  readonly container: string | undefined;
  readonly query: URLSearchParams;
}

function pathOf({ stream, pod: { metadata }, container, query }: StreamPath): string {
  const parameters = new URLSearchParams();
  switch (stream) {
    case 'exec':
      for (const word of query.getAll('command')) parameters.append('command', word);
      if (!parameters.has('command')) throw badRequest('you must specify at least one command for the container');
      break;
    case 'portforward':
      for (const port of query.getAll('ports')) parameters.append('port', port);
      break;
    case 'attach':
      break;
    default:
      stream satisfies never;
  }
  if (stream !== 'portforward') {
    for (const [name, flag] of Object.entries(flags)) if (booleanOf(query, name)) parameters.set(flag, '1');
    if (!['input', 'output', 'error'].some((flag) => parameters.has(flag))) {
      throw badRequest('you must specify at least 1 of stdin, stdout, stderr');
    }
  }
  const segments = [metadata.namespace ?? '', metadata.name, ...(container === undefined ? [] : [container])].map(encodeURIComponent);
  const text = parameters.toString();
  const path = `/${stream === 'portforward' ? 'portForward' : stream}/${segments.join('/')}${text === '' ? '' : `?${text}`}`;
  if (path.length > maxPathLength) throw badRequest(`a command of more than ${maxPathLength} characters`);
  return path;
}
