import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { type Node, nodes } from '../../api/core/v1/node.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { type Service, services } from '../../api/core/v1/service.ts';
import { type EndpointSlice, endpointSlices } from '../../api/discovery/v1/endpoint-slice.ts';
import { labels } from '../../api/well-known.ts';
import type { Clock } from '../../base/clock.ts';
import { networkErrorText } from '../../base/network-error.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { badRequest, StatusError } from '../../machinery/status-error.ts';
import { apiServerUser } from '../user.ts';
import { type ApiRequest, type HandlerContext, refOf, requestInfoOf } from './api-request.ts';
import { errorOf } from './kubelet-answers.ts';
import { type KubeletClient, KubeletRefusal } from './kubelet-client.ts';
import { connectPod } from './pod-connection.ts';
import { forwardedHeaders, headOf, relayAnswer } from './relay-answer.ts';

/**
 * `nodes/proxy`, `pods/proxy`, `services/proxy`: an HTTP request to a node's kubelet port, or to a port of a pod. Pods are reached through
 * the agent of their node, wherever the pod runs. An address that somebody wrote into a status is therefore never dialled.
 */
export async function handleProxy(request: ApiRequest, context: HandlerContext, kubelet: KubeletClient): Promise<void> {
  const { kind, target } = request;
  const path = target.rest === undefined ? {} : { path: `/${target.rest}` };
  const options = { kind: `${kind.kind}ProxyOptions`, apiVersion: 'v1', ...path } as unknown as KubeObject;
  await context.kubeApi.connect(requestInfoOf(request), refOf(request), options);
  if (kind.resource === 'nodes') await proxyToNode(request, context, kubelet);
  else await proxyToPod(request, context, kubelet);
}

const headTimeoutMs = 60_000;

interface Destination {
  readonly scheme: 'http' | 'https';
  readonly name: string;
  /** As the path names it: a number or a name; empty for the default. */
  readonly port: string;
}

async function proxyToNode(request: ApiRequest, context: HandlerContext, kubelet: KubeletClient): Promise<void> {
  const { name, port } = destinationOf(request);
  const node = (await context.kubeApi.get({ ...ownRequest(request), kind: nodes }, { name })) as Node;
  const ownPort = String(node.status?.daemonEndpoints?.kubeletEndpoint?.Port ?? '');
  if (port !== '' && port !== ownPort) throw badRequest(`port ${port} of node ${name} is not that of its kubelet`);
  const { method, body, signal } = request;
  const answer = await kubelet.request(node, { method, path: restOf(request), headers: headersFor(request), body, signal });
  await relay(answer, request, context);
}

async function proxyToPod(request: ApiRequest, context: HandlerContext, kubelet: KubeletClient): Promise<void> {
  const destination = destinationOf(request);
  const own = ownRequest(request);
  const { pod, port } =
    request.kind.resource === 'pods' ? await podPortOf(request, context, destination) : await servicePortOf(request, context, destination);
  const { nodeName } = pod.spec;
  if (nodeName === undefined || nodeName === '') throw badRequest(`pod ${pod.metadata.name} does not have a host assigned`);
  const node = (await context.kubeApi.get({ ...own, kind: nodes }, { name: nodeName })) as Node;
  let connection: Duplex;
  try {
    connection = await connectPod(kubelet, { node, pod, port, signal: request.signal });
  } catch (err) {
    if (err instanceof KubeletRefusal)
      throw await errorOf(err.answer, { name: pod.metadata.name, kind: `${request.kind.resource}/proxy`, clock: context.clock });
    throw unreachable(err);
  }
  try {
    await relay(await send(request, { connection, destination, port, clock: context.clock }), request, context);
  } finally {
    connection.destroy();
  }
}

const ownRequest = ({ signal }: ApiRequest) => ({ user: apiServerUser, userAgent: 'apiserver', signal });

/** `[scheme:]name[:port]` */
function destinationOf(request: ApiRequest): Destination {
  const parts = refOf(request).name.split(':');
  const [first = '', second = '', third] = parts;
  if (parts.length > 3) throw badRequest(`invalid name ${JSON.stringify(parts.join(':'))}`);
  if (third === undefined) return { scheme: 'http', name: first, port: second };
  if (first !== '' && first !== 'http' && first !== 'https') throw badRequest(`invalid scheme ${JSON.stringify(first)}`);
  return { scheme: first === 'https' ? 'https' : 'http', name: second, port: third };
}

/** The path that follows `proxy` as the client wrote it, with the query. */
function restOf({ raw, target }: ApiRequest): string {
  const url = raw.url ?? '/';
  const mark = url.indexOf('?');
  const path = mark === -1 ? url : url.slice(0, mark);
  // Empty, api, version, [namespaces, NAMESPACE,] resource, name, proxy.
  const before = target.namespace === undefined ? 6 : 8;
  return `/${path.split('/').slice(before).join('/')}${mark === -1 ? '' : url.slice(mark)}`;
}

async function podPortOf(
  request: ApiRequest,
  context: HandlerContext,
  { name, port }: Destination,
): Promise<{ readonly pod: Pod; readonly port: number }> {
  const pod = (await context.kubeApi.get({ ...ownRequest(request), kind: pods }, { ...refOf(request), name })) as Pod;
  const declared = pod.spec.containers.flatMap(({ ports }) => ports ?? []);
  const found =
    port === '' ? (declared[0]?.containerPort ?? 80) : (tryPort(port) ?? declared.find((each) => each.name === port)?.containerPort);
  if (found === undefined) throw badRequest(`pod ${name} has no port ${JSON.stringify(port)}`);
  return { pod, port: found };
}

async function servicePortOf(
  request: ApiRequest,
  context: HandlerContext,
  { name, port }: Destination,
): Promise<{ readonly pod: Pod; readonly port: number }> {
  const own = ownRequest(request);
  const { namespace } = refOf(request);
  const service = (await context.kubeApi.get({ ...own, kind: services }, { ...refOf(request), name })) as Service;
  const ports = service.spec?.ports ?? [];
  const wanted =
    port === '' && ports.length === 1 ? ports[0] : ports.find((each) => (each.name ?? '') === port || String(each.port) === port);
  if (wanted === undefined) throw unavailable(`no service port ${JSON.stringify(port)} found for service ${JSON.stringify(name)}`);
  const { items } = await context.kubeApi.list(
    { ...own, kind: endpointSlices },
    { namespace, labelSelector: `${labels.serviceName}=${name}` },
  );
  const candidates = (items as readonly EndpointSlice[]).flatMap((slice) => {
    const number = slice.ports?.find((each) => (each.name ?? '') === (wanted.name ?? ''))?.port;
    const ready = (slice.endpoints ?? []).filter(({ conditions, targetRef }) => conditions?.ready !== false && targetRef?.kind === 'Pod');
    return number === undefined ? [] : ready.map(({ targetRef }) => ({ pod: targetRef?.name ?? '', port: number }));
  });
  const chosen = candidates[Math.floor(context.random() * candidates.length)];
  if (chosen === undefined) throw unavailable(`no endpoints available for service ${JSON.stringify(name)}`);
  const pod = (await context.kubeApi.get(
    { ...own, kind: pods },
    { name: chosen.pod, ...(namespace === undefined ? {} : { namespace }) },
  )) as Pod;
  return { pod, port: chosen.port };
}

function tryPort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}

interface SendOptions {
  readonly connection: Duplex;
  readonly destination: Destination;
  readonly port: number;
  readonly clock: Clock;
}

function send(request: ApiRequest, { connection, destination, port, clock }: SendOptions): Promise<IncomingMessage> {
  const { method, body, signal } = request;
  // As on the real server, the certificate of a pod is accepted unverified, since no authority knows its names.
  const stream = destination.scheme === 'https' ? connectTls({ socket: connection, rejectUnauthorized: false }) : connection;
  return new Promise((resolve, reject) => {
    const sent = httpRequest({
      method,
      path: restOf(request),
      headers: { ...headersFor(request), host: `${destination.name}:${port}`, connection: 'close' },
      createConnection: () => stream,
      signal,
    });
    const cancelTimeout = clock.after(headTimeoutMs, () => sent.destroy(new Error('i/o timeout')));
    sent.once('close', cancelTimeout);
    sent.once('response', (answer) => {
      cancelTimeout();
      resolve(answer);
    });
    sent.on('error', (err) => reject(unreachable(err)));
    sent.end(body);
  });
}

/** The handshake of a WebSocket, which is not passed on here. */
const isHandshake = (name: string): boolean => name.startsWith('sec-websocket-');

const headersFor = ({ raw, body }: ApiRequest): OutgoingHttpHeaders => ({
  ...forwardedHeaders(raw.headers, isHandshake),
  'x-forwarded-uri': raw.url ?? '/',
  ...(body === undefined ? {} : { 'content-length': body.length }),
});

const relay = (answer: IncomingMessage, { response }: ApiRequest, { stopping }: HandlerContext): Promise<void> =>
  relayAnswer({ answer, response, stopping, ...headOf(answer, isHandshake) });

const unavailable = (message: string): StatusError => new StatusError({ code: 503, reason: 'ServiceUnavailable', message });

const unreachable = (err: unknown): StatusError =>
  new StatusError({
    code: 503,
    reason: 'ServiceUnavailable',
    message: `error trying to reach service: ${err instanceof Error ? networkErrorText(err) : String(err)}`,
    cause: err,
  });
