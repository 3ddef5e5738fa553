// The clients of the flood benchmark, in processes of their own so that they do not take the server's time:
//
//   node test/bench/flood-load.mjs '{"kind":"normal", …}'
//   node test/bench/flood-load.mjs '{"kind":"flood", …}'
//
// Prints one JSON document when `durationMs` is over. Every connection is closed by then, whatever the server did.
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { connect } from 'node:net';

const { kind, ...options } = JSON.parse(process.argv[2]);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Longest time of one answer; a slower one counts as that long. */
const timeoutMs = 30_000;

function opener({ server, ca, token, cert, key }) {
  const { protocol, hostname, port } = new URL(server);
  const isTls = protocol === 'https:';
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return {
    newAgent: () => (isTls ? new HttpsAgent({ keepAlive: true, maxSockets: 1 }) : new HttpAgent({ keepAlive: true, maxSockets: 1 })),
    open({ agent, method = 'GET', path, body, contentType = 'application/json' }) {
      const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
      const headers = { ...authorization, ...(bytes === undefined ? {} : { 'content-type': contentType, 'content-length': bytes.length }) };
      const request = (isTls ? httpsRequest : httpRequest)({ hostname, port, ca, cert, key, agent, method, path, headers });
      request.end(bytes);
      return request;
    },
  };
}

/** Reads the answer to its end and gives its status; 0 when there was none. */
const statusOf = (request) =>
  new Promise((resolve) => {
    const give = (status) => {
      clearTimeout(timer);
      resolve(status);
    };
    const timer = setTimeout(() => {
      request.destroy();
      give(0);
    }, timeoutMs);
    request.once('error', () => give(0));
    request.once('response', (response) => {
      response.on('error', () => give(0));
      response.resume().once('end', () => give(response.statusCode));
    });
  });

/** A get and a patch, ten times a second each, one after the other. */
async function normal({ connection, namespace, durationMs }) {
  const { newAgent, open } = opener(connection);
  const path = `/api/v1/namespaces/${namespace}/configmaps/normal`;
  const latencies = { get: [], patch: [] };
  const failures = {};
  const startedAt = performance.now();
  const client = async (name, requestOf) => {
    const agent = newAgent();
    await statusOf(open({ agent, path }));
    for (let count = 0; performance.now() - startedAt < durationMs; count += 1) {
      const sentAt = performance.now();
      const status = await statusOf(open({ agent, ...requestOf(count) }));
      latencies[name].push(performance.now() - sentAt);
      if (status !== 200) failures[status] = (failures[status] ?? 0) + 1;
      await sleep(100 - (performance.now() - sentAt));
    }
    agent.destroy();
  };
  const patchOf = (count) => ({
    method: 'PATCH',
    path,
    body: { data: { count: `${count}` } },
    contentType: 'application/merge-patch+json',
  });
  await Promise.all([client('get', () => ({ path })), client('patch', patchOf)]);
  return { latencies, failures };
}

/**
 * Each connection asks for the same over and over, but for `{n}` in the path, which counts. Those that do not read open another when the
 * server cuts them.
 */
async function flood({ connection, connections, durationMs, reads = true, request }) {
  const { newAgent, open } = opener(connection);
  const statuses = {};
  const note = (status) => {
    statuses[status] = (statuses[status] ?? 0) + 1;
  };
  const ending = sleep(durationMs).then(() => 'over');
  let over = false;
  let count = 0;
  const client = async () => {
    const agent = newAgent();
    while (!over) {
      count += 1;
      const sent = open({ agent, ...request, path: request.path.replace('{n}', count) });
      const answered = reads ? statusOf(sent) : untilCut(sent);
      const status = await Promise.race([answered, ending]);
      if (status === 'over') {
        sent.destroy();
        break;
      }
      note(status);
      // A request that is refused at once comes back at once; without a breath this process would measure itself.
      if (status !== 200) await sleep(20);
    }
    agent.destroy();
  };
  const clients = Array.from({ length: connections }, client);
  await ending;
  over = true;
  await Promise.all(clients);
  return { statuses };
}

/** Each connection sends nothing, and is opened again when the server closes it. */
async function hold({ connection, connections, durationMs }) {
  const { hostname, port } = new URL(connection.server);
  const statuses = { opened: 0, closed: 0 };
  const ending = sleep(durationMs);
  let over = false;
  const client = async () => {
    while (!over) {
      const socket = connect({ host: hostname, port: Number(port) }, () => {
        statuses.opened += 1;
      });
      // A reset is an end, too.
      socket.on('error', () => undefined);
      const closed = new Promise((resolve) => socket.once('close', resolve));
      await Promise.race([closed, ending]);
      if (!over) statuses.closed += 1;
      socket.destroy();
    }
  };
  const clients = Array.from({ length: connections }, client);
  await ending;
  over = true;
  await Promise.all(clients);
  return { statuses };
}

const untilCut = (request) =>
  new Promise((resolve) => {
    request.once('error', () => resolve(0));
    request.once('response', (response) => {
      response.pause().on('error', () => undefined);
      if (response.statusCode !== 200) resolve(response.resume().statusCode);
      else response.once('close', () => resolve(response.statusCode));
    });
  });

const result = await { normal, flood, hold }[kind](options);
process.stdout.write(JSON.stringify(result), () => process.exit(0));
