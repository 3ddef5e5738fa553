import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { secrets } from '../api/core/v1/secret.ts';
import { formsOf, secretValuesIn } from '../api/core/v1/secret-values.ts';
import { builtInKinds } from '../api/kinds.ts';
import { readFileTail } from '../base/bounded-file.ts';
import { createRedactor, type Redactor } from '../base/redactor.ts';
import type { HttpClient } from '../client/http-client.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { apiVersionOf } from '../machinery/resource.ts';
import { formatYaml } from '../machinery/yaml.ts';
import { sendAdminRequest } from './admin-request.ts';
import { certificateStates } from './certs.ts';
import { readSettings } from './config.ts';
import { filesOf } from './configuration.ts';
import { withClient } from './connect.ts';
import { tryEndpoints } from './data-directory.ts';
import { type DoctorOptions, examine } from './doctor.ts';
import { type ExitCode, Failure, requireDirectoryOf } from './failure.ts';
import { secretFilesOf } from './secret-files.ts';
import { shownObject } from './shown-object.ts';

export interface SupportBundleOptions extends Omit<DoctorOptions, 'format'> {
  /** A new `.tar.gz`. */
  readonly file: string;
  /** Replace a file of that name. */
  readonly force: boolean;
}

/** A log keeps its end. */
const maxLogBytes = 2 * 1024 * 1024;
const maxMetricsBytes = 8 * 1024 * 1024;
/** Objects of a kind; a page names how many there are. */
const maxObjects = 500;
const silenceMs = 60_000;
/** To the redactor every value and every text is of one app, so that short values go, too. */
const owner = 'support-bundle';

/** A file of the bundle. */
interface Part {
  readonly name: string;
  content(): Promise<string>;
}

/**
 * Collects in one file what somebody needs who helps with a cluster, and no secret of it. Values of Secrets, ConfigMaps, environments,
 * arguments and annotations are left out of objects. Values of Secrets, keys and tokens are then taken out of every file,
 * since logs and messages may repeat them. A part that cannot be had says why, and the others are there.
 */
export async function supportBundle(options: SupportBundleOptions): Promise<ExitCode> {
  const { file, force, output, dataDirectory } = options;
  if (!force && existsSync(file)) {
    throw new Failure(`${file} exists`, { why: 'Nothing was written.', fix: 'Name another file, or replace this one with --force.' });
  }
  requireDirectoryOf(file);
  const stage = await mkdtemp(join(dirname(file), '.midship-support-'));
  try {
    const redactor = createRedactor();
    for (const secret of await secretFilesOf(dataDirectory)) redactor.add(owner, formsOf(secret));
    const names: string[] = [];
    const missing: string[] = [];
    for (const part of await partsOf(options, redactor)) {
      try {
        await writePart(join(stage, part.name), redactor.text(await part.content(), owner));
        names.push(part.name);
      } catch (err) {
        missing.push(`${part.name}: ${redactor.text(err instanceof Error ? err.message : String(err), owner)}`);
      }
    }
    await writePart(join(stage, 'README.txt'), aboutText(options, names, missing));
    const temporary = join(stage, 'bundle.tar.gz');
    const { create } = await import('tar');
    await create({ gzip: true, cwd: stage, file: temporary, portable: true }, ['README.txt', ...names]);
    await chmod(temporary, 0o600);
    await rename(temporary, file);
    const { size } = await stat(file);
    output.write(`${basename(file)}  ${(size / 1024).toFixed(0)} KiB, ${names.length + 1} files\n`);
    for (const each of missing) output.write(`without ${each}\n`);
    output.write(
      'It has no values of Secrets, keys or tokens; names of objects, images and addresses are in it. Look before you send it.\n',
    );
    return 0;
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

async function writePart(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(path, content, { mode: 0o600 });
}

function aboutText({ version, now }: SupportBundleOptions, names: readonly string[], missing: readonly string[]): string {
  return [
    `Support bundle of Midship ${version}, ${new Date(now()).toISOString()}`,
    '',
    ...names,
    ...missing.map((each) => `without ${each}`),
    '',
    `Each log has its last ${maxLogBytes / 1024 / 1024} MiB, each kind its first ${maxObjects} objects. Objects of kinds that`,
    'CustomResourceDefinitions made are left out, since nothing says which of their fields are secret.',
    '',
  ].join('\n');
}

/** In this order: what a cluster tells makes the values known that later parts must not have. */
async function partsOf(options: SupportBundleOptions, redactor: Redactor): Promise<readonly Part[]> {
  const { dataDirectory, kubeconfig, version, now } = options;
  const files = filesOf(dataDirectory);
  const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;
  const kubeconfigFile = kubeconfig ?? (await tryEndpoints(dataDirectory))?.kubeconfig;
  const clusterParts = kubeconfigFile === undefined ? [] : await partsOfCluster(options, { kubeconfigFile, redactor });
  const logs = [
    ['midship.log', join(files.logs, 'midship.log')],
    ['terminal.log', files.terminalLog],
    ['failure.log', files.failureLog],
  ] as const;
  return [
    {
      name: 'versions.json',
      content: async () =>
        json({ midship: version, node: process.version, kernel: release(), platform: `${process.platform}/${process.arch}` }),
    },
    { name: 'settings.json', content: async () => json((await readSettings(files.settings)) ?? []) },
    { name: 'doctor.json', content: async () => json(await examine({ ...options, format: 'json' })) },
    { name: 'certificates.json', content: async () => json(await certificateStates(dataDirectory, now())) },
    ...clusterParts,
    ...logs
      .filter(([, path]) => existsSync(path))
      .map(([name, path]) => ({ name: join('logs', name), content: async () => (await readFileTail(path, maxLogBytes)).toString('utf8') })),
  ];
}

/** Reads all objects at once, so that one connection does. */
async function partsOfCluster(
  options: SupportBundleOptions,
  { kubeconfigFile, redactor }: { readonly kubeconfigFile: string; readonly redactor: Redactor },
): Promise<readonly Part[]> {
  const metrics: Part = {
    name: 'metrics.txt',
    async content() {
      const connection = await loadKubeconfig(kubeconfigFile);
      const answer = await sendAdminRequest(connection, { method: 'GET', path: '/metrics', silenceMs, refusal: 'shows no metrics' });
      return (await text(answer)).slice(0, maxMetricsBytes);
    },
  };
  try {
    return [
      ...(await withClient({ ...options, context: undefined, namespace: undefined }, (client) => objectParts(client, redactor))),
      metrics,
    ];
  } catch (err) {
    if (!(err instanceof Failure)) throw err;
    return [{ name: 'objects', content: () => Promise.reject(err) }];
  }
}

async function objectParts(client: HttpClient, redactor: Redactor): Promise<readonly Part[]> {
  // First of all: a message of another object may repeat a value.
  for (const secret of (await client.list(secrets)).items) redactor.add(owner, secretValuesIn(secret));
  const parts: Part[] = [{ name: 'cluster-version.json', content: async () => `${JSON.stringify(await client.serverVersion())}\n` }];
  for (const kind of builtInKinds) {
    if (kind.transient === true || kind.storedAs !== undefined || !kind.verbs.includes('list')) continue;
    const name = join('objects', `${kind.resource}${kind.group === '' ? '' : `.${kind.group}`}.yaml`);
    const found = await client.list(kind, { limit: maxObjects }).catch((err: unknown) => err as Error);
    if (found instanceof Error) parts.push({ name, content: () => Promise.reject(found) });
    else if (found.items.length > 0) {
      const shown = found.items.map((object) => formatYaml(shownObject({ ...object, apiVersion: apiVersionOf(kind), kind: kind.kind })));
      parts.push({ name, content: async () => shown.join('---\n') });
    }
  }
  return parts;
}
