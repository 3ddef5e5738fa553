// The clients of the API benchmark, in a process of their own so that they do not take the server's time:
//
//   node test/bench/api-load.mjs KUBECONFIG '{"kind":"requests", …}'
//
// Prints one JSON document. Connections are kept alive; each client has one.
import { Agent, request as httpsRequest } from 'node:https';
import { loadKubeconfig } from '../../dist/client/kubeconfig.js';

const [, , kubeconfig, task] = process.argv;
const { server, caCertificate, clientCertificate, token } = await loadKubeconfig(kubeconfig);
const { hostname, port } = new URL(server);
const credentials = {
  hostname,
  port,
  ca: caCertificate,
  ...(clientCertificate === undefined ? {} : { cert: clientCertificate.certificate, key: clientCertificate.key }),
};
const authorization = token === undefined ? {} : { authorization: `Bearer ${typeof token === 'function' ? await token() : token}` };

const newAgent = () => new Agent({ keepAlive: true, maxSockets: 1 });

/** Resolves with the text once all of it is there; everything but 2xx is a failure of the benchmark. */
function send(agent, method, path, body, contentType = 'application/json') {
  const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      {
        ...credentials,
        agent,
        method,
        path,
        headers: {
          ...authorization,
          accept: 'application/json',
          ...(bytes === undefined ? {} : { 'content-type': contentType, 'content-length': bytes.length }),
        },
      },
      (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if (response.statusCode >= 200 && response.statusCode < 300) resolve(text);
          else reject(new Error(`${method} ${path}: ${response.statusCode} ${text.slice(0, 300)}`));
        });
        response.on('error', reject);
      },
    );
    request.on('error', reject);
    request.end(bytes);
  });
}

const configMap = (name, data) => ({ metadata: { name, namespace: 'bench' }, data });
const collection = '/api/v1/namespaces/bench/configmaps';
const widgets = '/apis/bench.example/v1/namespaces/bench/widgets';
const value = 'x'.repeat(1_024);

/** Requests of each operation; `n` counts the requests of all clients. */
const operations = {
  get: (agent, n) => send(agent, 'GET', `${collection}/c${n % 500}`),
  list: (agent) => send(agent, 'GET', `${collection}?labelSelector=!none`),
  create: (agent, n, prefix) => send(agent, 'POST', collection, configMap(`${prefix}${n}`, { value })),
  update: (agent, n) =>
    send(agent, 'PUT', `${collection}/c${n % 500}`, configMap(`c${n % 500}`, { value, n: String(n), at: String(performance.now()) })),
  seed: (agent, n) => send(agent, 'POST', collection, configMap(`c${n}`, { value })),
  widget: (agent, n) =>
    send(agent, 'POST', widgets, {
      apiVersion: 'bench.example/v1',
      kind: 'Widget',
      metadata: { name: `w${n}` },
      spec: { size: n % 100, text: 'a widget' },
    }),
  widgets: (agent) => send(agent, 'GET', widgets),
};

/**
 * `clients` send one request after the other, each at most one in `intervalMs`, until `total` were sent or `durationMs` is over. The
 * latencies are those of single requests.
 */
async function requests({
  operation,
  clients,
  total = Number.POSITIVE_INFINITY,
  durationMs = Number.POSITIVE_INFINITY,
  intervalMs = 0,
  prefix = '',
}) {
  const latencies = [];
  const agents = Array.from({ length: clients }, newAgent);
  // Connections are there before anything is measured.
  for (const agent of agents) await send(agent, 'GET', '/version');
  const startedAt = performance.now();
  let next = 0;
  const client = async (agent, index) => {
    // Clients that start at the same moment would stay in step.
    if (intervalMs > 0) await sleep((intervalMs * index) / clients);
    while (next < total && performance.now() - startedAt < durationMs) {
      const sentAt = performance.now();
      const number = next;
      next += 1;
      await operations[operation](agent, number, prefix);
      latencies.push(performance.now() - sentAt);
      const rest = intervalMs - (performance.now() - sentAt);
      if (rest > 0) await sleep(rest);
    }
    agent.destroy();
  };
  await Promise.all(agents.map(client));
  return { latencies, seconds: (performance.now() - startedAt) / 1_000 };
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** `watchers` watch the ConfigMaps while one of them is written `perSecond` times a second; the lag counts from when the write was sent. */
async function watchers({ watchers: count, writes, perSecond }) {
  const lags = [];
  const seen = new Array(count).fill(0);
  const { resourceVersion } = JSON.parse(await send(newAgent(), 'GET', `${collection}?limit=1`)).metadata;
  const opened = [];
  // Handshakes cost milliseconds on both sides: all at once would be a measurement of those.
  while (opened.length < count) {
    const batch = Array.from({ length: Math.min(50, count - opened.length) }, (_, index) => {
      const number = opened.length + index;
      return watch(resourceVersion, (at) => {
        seen[number] += 1;
        lags.push(performance.now() - at);
      });
    });
    opened.push(...batch);
    await Promise.all(batch.map(({ open }) => open));
  }
  const writer = newAgent();
  for (let n = 0; n < writes; n += 1) {
    const sentAt = performance.now();
    await send(writer, 'PUT', `${collection}/c0`, configMap('c0', { n: String(n), at: `<${sentAt}>` }));
    await sleep(Math.max(0, 1_000 / perSecond - (performance.now() - sentAt)));
  }
  const deadline = performance.now() + 30_000;
  while (seen.some((events) => events < writes) && performance.now() < deadline) await sleep(20);
  const reasons = opened.map(({ endedBy }) => endedBy()).filter((why) => why !== undefined);
  if (reasons.length > 0) process.stderr.write(`  ${reasons.length} watches ended: ${[...new Set(reasons)].slice(0, 5).join('; ')}\n`);
  for (const { close } of opened) close();
  return { lags, missed: seen.reduce((missed, events) => missed + Math.max(0, writes - events), 0) };
}

function watch(resourceVersion, onWrite) {
  const agent = newAgent();
  let close;
  let ended;
  const open = new Promise((resolve, reject) => {
    const request = httpsRequest(
      { ...credentials, agent, path: `${collection}?watch=true&resourceVersion=${resourceVersion}`, headers: authorization },
      (response) => {
        let rest = '';
        response.setEncoding('utf8');
        response.on('data', (chunk) => {
          const lines = (rest + chunk).split('\n');
          rest = lines.pop();
          for (const line of lines) {
            // A thousand parsers would measure themselves: only the time is read.
            const at = /<([\d.]+)>/.exec(line)?.[1];
            if (at === undefined) ended ??= line.slice(0, 300);
            else onWrite(Number(at));
          }
        });
        response.on('error', (err) => {
          ended ??= String(err);
        });
        response.on('end', () => {
          ended ??= 'by the server';
        });
        if (response.statusCode === 200) resolve();
        else response.on('data', (text) => reject(new Error(`watch: ${response.statusCode} ${text}`)));
      },
    );
    request.on('error', reject);
    request.end();
    close = () => request.destroy();
  });
  return { open, close: () => close(), endedBy: () => ended };
}

const { kind, ...options } = JSON.parse(task);
const result = kind === 'watchers' ? await watchers(options) : await requests(options);
process.stdout.write(JSON.stringify(result), () => process.exit(0));
