import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type CertificateEntry, entryOf, readCertificates } from '../base/pki/inventory.ts';
import { distrustFormerAuthorities, removeIssued, rotateAuthority } from '../base/pki/rotation.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { authoritiesOf, filesOf } from './configuration.ts';
import { claimStopped } from './data-directory.ts';
import { type ExitCode, Failure } from './failure.ts';
import { table, writeResult } from './output.ts';

export interface CheckOptions {
  readonly dataDirectory: string;
  readonly format: 'text' | 'json';
  readonly output: NodeJS.WritableStream;
  readonly now: number;
}

const dayMs = 86_400_000;
/** As long before its end an authority has to be replaced, and a running process has renewed everything else. */
const soonMs = 30 * dayMs;

export interface CertificateState {
  readonly name: string;
  readonly purpose: CertificateEntry['purpose'];
  readonly commonName: string;
  /** RFC 3339 */
  readonly notBefore: string;
  readonly notAfter: string;
  readonly daysLeft: number;
  readonly state: 'ok' | 'ends soon' | 'ended' | 'not yet valid';
}

/** The certificates of a data directory. @throws Failure when there are none yet */
export async function certificateStates(dataDirectory: string, now: number): Promise<readonly CertificateState[]> {
  const { cluster, frontProxy } = authoritiesOf(dataDirectory);
  const entries = [
    ...(await certificatesOf(cluster.directory, dataDirectory)),
    ...(await certificatesOf(frontProxy.directory, dataDirectory)).map((entry) => ({ ...entry, name: `front-proxy/${entry.name}` })),
    ...(await kubeconfigEntry(filesOf(dataDirectory).kubeconfig)),
  ];
  return entries.map((entry) => ({
    name: entry.name,
    purpose: entry.purpose,
    commonName: entry.commonName,
    notBefore: new Date(entry.validFrom).toISOString(),
    notAfter: new Date(entry.validTo).toISOString(),
    daysLeft: Math.floor((entry.validTo - now) / dayMs),
    state: stateOf(entry, now),
  }));
}

/** A former authority that has ended is not trusted any more, and nothing depends on it. */
export const needAttention = (certificates: readonly CertificateState[]): readonly CertificateState[] =>
  certificates.filter(({ state, purpose }) => state !== 'ok' && purpose !== 'former authority');

/** Lists the certificates of a data directory, of a running cluster or a stopped one; 1 when one needs attention. */
export async function checkCertificates({ dataDirectory, format, output, now }: CheckOptions): Promise<ExitCode> {
  const certificates = await certificateStates(dataDirectory, now);
  const bad = needAttention(certificates);
  await writeResult({ output, format }, { certificates }, () => {
    const rows = certificates.map(({ name, purpose, notAfter, daysLeft, state }) => [
      name,
      purpose,
      `${notAfter.slice(0, 16).replace('T', ' ')}Z`,
      String(daysLeft),
      state,
    ]);
    const advice = bad.length === 0 ? '' : `\n${renewalAdvice(bad)}\n`;
    return table([['NAME', 'PURPOSE', 'EXPIRES', 'DAYS LEFT', 'STATE'], ...rows]) + advice;
  });
  return bad.length === 0 ? 0 : 1;
}

function stateOf({ validFrom, validTo }: CertificateEntry, now: number): CertificateState['state'] {
  if (now >= validTo) return 'ended';
  if (now < validFrom) return 'not yet valid';
  return validTo - now < soonMs ? 'ends soon' : 'ok';
}

/** The next step for certificates that need attention. */
export function renewalAdvice(bad: readonly Pick<CertificateEntry, 'purpose'>[]): string {
  return bad.some(({ purpose }) => purpose === 'authority')
    ? 'An authority has to be replaced: midship down, midship certs rotate --ca, midship up.'
    : 'A running cluster renews these by itself; a stopped one does so when it starts.';
}

async function certificatesOf(directory: string, dataDirectory: string): Promise<readonly CertificateEntry[]> {
  try {
    return await readCertificates(directory);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    throw noCertificates(dataDirectory, cause);
  }
}

const noCertificates = (dataDirectory: string, cause?: unknown): Failure =>
  new Failure(`there are no certificates in ${dataDirectory}`, {
    why: 'They are made when the cluster starts for the first time.',
    fix: 'Give --data-dir DIR when its data is elsewhere.',
    cause,
  });

/** It holds a copy of the admin certificate; absent before the first start. */
async function kubeconfigEntry(path: string): Promise<readonly CertificateEntry[]> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return [];
  const { clientCertificate } = await loadKubeconfig(path);
  return [entryOf('kubeconfig', clientCertificate?.certificate ?? '')];
}

export interface RotateOptions {
  readonly dataDirectory: string;
  /** Replace the authorities as well. */
  readonly authorities: boolean;
  /** Trust no authority but the current ones. */
  readonly distrustFormer: boolean;
  readonly serviceAccountKey: boolean;
  readonly output: NodeJS.WritableStream;
  readonly now: number;
}

/** Replaces the certificates of a stopped cluster; the next start hands the new ones to everything that needs them. */
export async function rotateCertificates(options: RotateOptions): Promise<ExitCode> {
  const { dataDirectory, authorities, distrustFormer, serviceAccountKey, output, now } = options;
  const all = Object.values(authoritiesOf(dataDirectory));
  for (const { directory } of all) {
    const entries = await certificatesOf(directory, dataDirectory);
    if (!entries.some(({ purpose }) => purpose === 'authority')) throw noCertificates(dataDirectory);
  }
  const { database, serverId } = filesOf(dataDirectory);
  if ((authorities || serviceAccountKey || distrustFormer) && !existsSync(database) && existsSync(serverId)) {
    throw new Failure(`the keys of ${dataDirectory} are copies of those in etcd`, {
      why: 'All servers of the cluster have them, and one with others would be refused. Nothing was changed.',
      fix: 'On a server that runs: midship certs rotate-ca, or midship certs rotate-signing-key',
    });
  }
  const release = await claimStopped(dataDirectory);
  try {
    let issued = 0;
    for (const authority of all) {
      if (authorities) await rotateAuthority({ ...authority, now });
      if (distrustFormer) await distrustFormerAuthorities(authority.directory);
      issued += (await removeIssued(authority.directory)).length;
    }
    if (serviceAccountKey) await rm(join(all[0]?.directory ?? '', 'sa.key'), { force: true });
    output.write(`removed ${issued} certificates; the next start makes new ones and writes the kubeconfig again\n`);
    if (authorities) {
      output.write(
        distrustFormer
          ? 'replaced the authorities; kubeconfigs that were copied elsewhere stop working\n'
          : 'replaced the authorities; the former ones stay trusted until they end, or until "midship certs rotate --distrust-former"\n',
      );
    } else if (distrustFormer) output.write('former authorities are no longer trusted\n');
    if (serviceAccountKey) output.write('removed the key of service account tokens; every token in use stops working\n');
  } finally {
    await release();
  }
  return 0;
}
