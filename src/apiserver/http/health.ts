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

export const isHealthEndpoint = (name: string): name is HealthEndpoint => healthEndpoints.some((endpoint) => endpoint === name);

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

/** Undefined when a single check is asked for that does not exist. The reason of a failure stays in the log: anonymous users may ask. */
export async function reportHealth(
  checks: readonly HealthCheck[],
  query: HealthQuery,
  record: HealthRecord,
): Promise<HealthReport | undefined> {
  const { endpoint, only, verbose, exclude } = query;
  const relevant = checksOf(checks, endpoint);
  const chosen = only === undefined ? relevant : relevant.filter(({ name }) => name === only);
  if (only !== undefined && chosen.length === 0) return undefined;
  const results = await Promise.all(
    chosen.map(async ({ name, check }) => {
      if (exclude.includes(name)) return { line: `[+]${name} excluded: ok`, ok: true };
      const ok = await passes(check);
      record.note(endpoint, name, ok);
      return { line: ok ? `[+]${name} ok` : `[-]${name} failed: reason withheld`, ok };
    }),
  );
  const healthy = results.every(({ ok }) => ok);
  if (healthy && (!verbose || only !== undefined)) return { code: 200, text: 'ok' };
  const lines = results.map(({ line }) => line).join('\n');
  return { code: healthy ? 200 : 500, text: `${lines}\n${endpoint} check ${healthy ? 'passed' : 'failed'}\n` };
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
