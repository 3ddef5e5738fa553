/** `/healthz`, `/livez` and `/readyz`: what the server says of itself, check by check. */

export interface HealthCheck {
  readonly name: string;
  /** A check that fails here means that a restart would help; the others only say that requests cannot be answered now. */
  readonly liveness: boolean;
  /** Throws, or rejects, when it is not well. */
  check(): void | Promise<void>;
}

export const healthEndpoints = ['healthz', 'livez', 'readyz'] as const;
export type HealthEndpoint = (typeof healthEndpoints)[number];

/** Checks that a path asks for: all of an endpoint, or one. */
interface HealthPath {
  readonly endpoint: HealthEndpoint;
  readonly only?: string;
}

/** `/livez`, `/livez/poststarthook/rbac/bootstrap-roles`; undefined for any other path, also one that ends in a slash. */
export function tryHealthPath(path: string): HealthPath | undefined {
  for (const endpoint of healthEndpoints) {
    if (path === `/${endpoint}`) return { endpoint };
    if (path.startsWith(`/${endpoint}/`)) return { endpoint, only: path.slice(endpoint.length + 2) };
  }
  return undefined;
}

/** The checks that make up an endpoint. */
export const checksOf = (checks: readonly HealthCheck[], endpoint: HealthEndpoint): readonly HealthCheck[] =>
  endpoint === 'livez' ? checks.filter(({ liveness }) => liveness) : checks;

/** Counts the results of each check whenever somebody asks, and keeps the latest. */
export interface HealthRecord {
  note(endpoint: HealthEndpoint, check: string, ok: boolean): void;
  /** `kubernetes_healthcheck` and `kubernetes_healthchecks_total`, as upstream names them. */
  text(): string;
}

export function createHealthRecord(): HealthRecord {
  const records = new Map<string, { last: boolean; readonly counts: Record<'success' | 'error', number> }>();
  return {
    note(endpoint, check, ok) {
      const key = `name="${check}",type="${endpoint}"`;
      const record = records.get(key) ?? { last: ok, counts: { success: 0, error: 0 } };
      records.set(key, record);
      record.last = ok;
      record.counts[ok ? 'success' : 'error'] += 1;
    },
    text() {
      const all = [...records];
      return [
        '# HELP kubernetes_healthcheck Whether a check passed when it was last asked for.',
        '# TYPE kubernetes_healthcheck gauge',
        ...all.map(([labels, { last }]) => `kubernetes_healthcheck{${labels}} ${last ? 1 : 0}`),
        '# HELP kubernetes_healthchecks_total Checks that were asked for, by what they came to.',
        '# TYPE kubernetes_healthchecks_total counter',
        ...all.flatMap(([labels, { counts }]) =>
          Object.entries(counts).map(([status, count]) => `kubernetes_healthchecks_total{status="${status}",${labels}} ${count}`),
        ),
        '',
      ].join('\n');
    },
  };
}

export interface HealthReport {
  readonly code: number;
  readonly text: string;
}

export interface HealthQuery {
  readonly endpoint: HealthEndpoint;
  /** One check of the endpoint. */
  readonly only?: string | undefined;
  readonly verbose: boolean;
  readonly exclude: readonly string[];
}

/**
 * In the words and the order of the real server, also where a name to leave out is no check. Undefined when a single check is asked for
 * that does not exist. The reason of a failure stays in the log: anonymous users may ask.
 */
export async function reportHealth(
  checks: readonly HealthCheck[],
  query: HealthQuery,
  record: HealthRecord,
): Promise<HealthReport | undefined> {
  const { endpoint, only, verbose, exclude } = query;
  const relevant = checksOf(checks, endpoint);
  if (only !== undefined) {
    const single = relevant.find(({ name }) => name === only);
    if (single === undefined) return undefined;
    const ok = await passes(single.check);
    record.note(endpoint, only, ok);
    return ok ? { code: 200, text: 'ok' } : { code: 500, text: `internal server error: ${only} failed: reason withheld\n` };
  }
  const results = await Promise.all(
    relevant.map(async ({ name, check }) => {
      if (exclude.includes(name)) return { line: `[+]${name} excluded: ok`, ok: true };
      const ok = await passes(check);
      record.note(endpoint, name, ok);
      return { line: ok ? `[+]${name} ok` : `[-]${name} failed: reason withheld`, ok };
    }),
  );
  const healthy = results.every(({ ok }) => ok);
  if (healthy && !verbose) return { code: 200, text: 'ok' };
  const lines = results.map(({ line }) => line);
  const unknown = [...new Set(exclude)].filter((name) => !relevant.some((check) => check.name === name)).sort();
  if (unknown.length > 0) {
    lines.push(`warn: some health checks cannot be excluded: no matches for ${unknown.map((name) => JSON.stringify(name)).join(', ')}`);
  }
  return { code: healthy ? 200 : 500, text: `${lines.join('\n')}\n${endpoint} check ${healthy ? 'passed' : 'failed'}\n` };
}

async function passes(check: HealthCheck['check']): Promise<boolean> {
  try {
    await check();
    return true;
  } catch {
    // The owner of the check logs why; here only the fact counts.
    return false;
  }
}

/** A check that fails until `isDone` has been true once: what a server does at its start counts as done from then on. */
export function onceDone(name: string, isDone: () => boolean | Promise<boolean>): HealthCheck {
  let done = false;
  return {
    name,
    liveness: true,
    async check() {
      done ||= await isDone();
      if (!done) throw new Error('not finished');
    },
  };
}
