import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A cloud provider in a process of its own, in memory: the example of docs/reference/cloud-provider.md. */
export interface CloudProcess {
  readonly url: string;
  /** Machines by name of their Node. */
  readonly machines: Map<string, Record<string, unknown>>;
  /** Addresses by Service, as the provider gave them. */
  readonly balancers: Map<string, string>;
  readonly routes: Map<string, { readonly nodeName: string; readonly destination: string }>;
  /** Authorization of the last request. */
  lastToken: string | undefined;
  /** Answers that come instead of the own ones, by path. */
  readonly instead: Map<string, () => { readonly code: number; readonly text: string } | 'silence'>;
  stop(): Promise<void>;
}

interface Question {
  readonly node: { readonly name: string };
  readonly service: { readonly namespace: string; readonly name: string };
  readonly nodes: readonly { readonly name: string }[];
  readonly route: { readonly nodeName: string; readonly destination: string };
}

export async function startCloudProcess(): Promise<CloudProcess> {
  const machines: CloudProcess['machines'] = new Map();
  const balancers: CloudProcess['balancers'] = new Map();
  const routes: CloudProcess['routes'] = new Map();
  const instead: CloudProcess['instead'] = new Map();
  const notFound = { code: 404, body: { message: 'not there' } };

  function answer(path: string, { node, service, nodes, route }: Question): { readonly code: number; readonly body: object } {
    const key = service === undefined ? '' : `${service.namespace}/${service.name}`;
    switch (path) {
      case 'instances/find': {
        const machine = machines.get(node.name);
        return machine === undefined ? notFound : { code: 200, body: machine };
      }
      case 'load-balancers/ensure': {
        const ip = balancers.get(key) ?? `203.0.113.${balancers.size + 1}`;
        if (nodes.length === 0) return { code: 422, body: { message: 'no node to send connections to' } };
        balancers.set(key, ip);
        return { code: 200, body: { ingress: [{ ip }] } };
      }
      case 'load-balancers/remove':
        return balancers.delete(key) ? { code: 200, body: {} } : notFound;
      case 'routes/list':
        return { code: 200, body: { routes: [...routes.values()] } };
      case 'routes/create':
        routes.set(route.destination, route);
        return { code: 200, body: {} };
      case 'routes/remove':
        return routes.delete(route.destination) ? { code: 200, body: {} } : notFound;
      default:
        return { code: 501, body: {} };
    }
  }

  const server = createServer((request, response) => {
    void readBody(request).then((text) => {
      cloud.lastToken = request.headers.authorization;
      const path = (request.url ?? '').replace('/v1/', '');
      const other = instead.get(path)?.();
      if (other === 'silence') return;
      // An error changes nothing in the cloud.
      const { code, text: sent } = other ?? textOf(answer(path, JSON.parse(text) as Question));
      response.writeHead(code, { 'Content-Type': 'application/json' }).end(sent);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cloud: CloudProcess = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    machines,
    balancers,
    routes,
    instead,
    lastToken: undefined,
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return cloud;
}

const textOf = ({ code, body }: { readonly code: number; readonly body: object }) => ({ code, text: JSON.stringify(body) });

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
