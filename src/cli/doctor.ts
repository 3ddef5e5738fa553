import pc from 'picocolors';
import { plain } from '../base/plain-text.ts';
import { type AppCommand, withClient } from './connect.ts';
import { readEndpoints, tryEndpoints } from './data-directory.ts';
import { checkCluster } from './doctor-cluster.ts';
import { checkDirectory } from './doctor-directory.ts';
import { checkEtcd } from './doctor-etcd.ts';
import { type ExitCode, Failure } from './failure.ts';
import { wrapText, writeResult } from './output.ts';
import type { RepairContext } from './repair.ts';

/** The result of one check: it passed, or it says what to do. A note names what this machine lacks, and what is not needed by default. */
export type Finding =
  | { readonly check: string; readonly result: 'ok'; readonly what: string }
  | ({ readonly check: string; readonly result: 'note'; readonly why?: string } & Pick<Problem, 'what' | 'fix'>)
  | ({ readonly check: string; readonly result: 'problem' } & Problem);

export interface Problem {
  readonly what: string;
  /** The cause or the consequence. */
  readonly why: string;
  /** The next step. */
  readonly fix: string;
}

export interface DoctorOptions extends Omit<AppCommand, 'namespace' | 'context'> {
  readonly environment: NodeJS.ProcessEnv;
  /** Milliseconds since the epoch. A look at what other clocks wrote reads it afterwards, since checks take their time. */
  now(): number;
  readonly openStore: RepairContext['openStore'];
  /** Judges what pods need of the machine. */
  checkMachine(searchPath: string): Promise<readonly Finding[]>;
}

/** Looks for what keeps a cluster from working: on the machine, in the data directory, and in the cluster when it runs. 1 for a problem. */
export async function doctor(options: DoctorOptions): Promise<ExitCode> {
  const { dataDirectory } = options;
  const findings = await examine(options);
  await writeResult(options, { dataDirectory, findings }, () => findings.map(textOf).join('') + summaryOf(findings));
  return findings.some(({ result }) => result === 'problem') ? 1 : 0;
}

/** The results of all checks. */
export async function examine(options: DoctorOptions): Promise<readonly Finding[]> {
  const { dataDirectory, environment, checkMachine } = options;
  const running = await tryEndpoints(dataDirectory);
  return [
    ...(await checkMachine(environment.PATH ?? '')),
    ...(await checkDirectory({ ...options, running })),
    ...(running === undefined && options.kubeconfig === undefined
      ? [
          {
            check: 'cluster',
            result: 'note' as const,
            what: 'no cluster runs here; nodes, sources and webhooks were not asked',
            fix: 'Start it, or name another one with --kubeconfig FILE.',
          },
        ]
      : await askCluster(options)),
  ];
}

/** A cluster that does not answer is a finding, too. */
async function askCluster(options: DoctorOptions): Promise<readonly Finding[]> {
  let ofEtcd: readonly Finding[] = [];
  try {
    return await withClient({ ...options, context: undefined, namespace: undefined }, async (client) => {
      // First: without etcd the other answers fail.
      ofEtcd = await checkEtcd(options.kubeconfig ?? (await readEndpoints(options.dataDirectory)).kubeconfig);
      return [...ofEtcd, ...(await checkCluster(client, options.now))];
    });
  } catch (err) {
    if (!(err instanceof Failure)) throw err;
    return [...ofEtcd, { check: 'cluster', result: 'problem', what: err.message, why: err.why, fix: err.fix }];
  }
}

const glyphs: Readonly<Record<Finding['result'], string>> = { ok: pc.green('✓'), note: '·', problem: pc.red('✗') };

const indent = 16;

function textOf(finding: Finding): string {
  const { check, result, what } = finding;
  const lines = [what, ...(finding.result === 'ok' ? [] : [finding.why, finding.fix])].filter((line) => line !== undefined && line !== '');
  const [first = '', ...more] = lines.map((line) => wrapText(plain(line ?? ''), indent));
  return `${glyphs[result]} ${check.padEnd(indent - 3)} ${first}\n${more.map((line) => `${' '.repeat(indent)}${line}\n`).join('')}`;
}

function summaryOf(findings: readonly Finding[]): string {
  const count = findings.filter(({ result }) => result === 'problem').length;
  return `\n${count === 0 ? 'no problems found' : `${count} ${count === 1 ? 'problem' : 'problems'} found`}\n`;
}
