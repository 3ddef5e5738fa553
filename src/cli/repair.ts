import { join } from 'node:path';
import { makeDurableDirectory, writeDurableFile } from '../base/durable-file.ts';
import { nearest } from '../base/nearest.ts';
import { plain } from '../base/plain-text.ts';
import { checkRepository } from '../gitops/sources/bare-repository.ts';
import type { KindDefinition } from '../machinery/kind.ts';
import { formatYaml } from '../machinery/yaml.ts';
import { filesOf } from './configuration.ts';
import { readEndpoints } from './data-directory.ts';
import { type ExitCode, Failure } from './failure.ts';
import { table } from './output.ts';

/**
 * The last resort for a cluster that does not start: these commands work on its files, without its API. Objects are named
 * `KIND/NAMESPACE/NAME`, or `KIND/NAME` where there is no namespace.
 */
export interface RepairContext {
  readonly dataDirectory: string;
  openStore(dataDirectory: string): Promise<StoppedStore>;
  salvageStore(dataDirectory: string): Promise<SalvagedStore>;
  readonly output: NodeJS.WritableStream;
}

interface SalvagedStore {
  readonly rows: number;
  readonly newestRevision: number;
  readonly damaged: readonly { readonly revision: number; readonly key: string }[];
  readonly keptAs: string;
}

export interface StoredObject {
  /** `GROUP/RESOURCE/NAMESPACE/NAME`, `core` for the group without a name. */
  readonly key: string;
  readonly text: string;
  readonly revision: number;
}

export interface StoppedStore {
  readonly revision: number;
  /** Opening it found this and set it aside, as a start does. */
  readonly damage: readonly string[];
  /** Kinds with the beginning of their keys. */
  readonly kinds: readonly { readonly prefix: string; readonly kind: KindDefinition }[];
  range(options: {
    readonly prefix: string;
    readonly after?: string;
    readonly limit: number;
  }): Promise<{ readonly entries: readonly StoredObject[]; readonly more: boolean }>;
  get(key: string): Promise<StoredObject | undefined>;
  /** False when it was changed meanwhile. */
  delete(object: StoredObject): Promise<boolean>;
  close(): Promise<void>;
}

const pageSize = 500;
/** Texts that encryption at rest has sealed begin with it. */
const sealedMark = 'k8s:enc:';

/** Verifies the rows of the store and the built-in repository; names what is broken. */
export function repairCheck(context: RepairContext): Promise<ExitCode> {
  return withStore(context, async (store) => {
    const { output, dataDirectory } = context;
    let objects = 0;
    const broken = [...store.damage];
    for await (const object of objectsOf(store, '')) {
      objects += 1;
      const problem = problemOf(object);
      const name = nameOf(store, object.key);
      if (problem !== undefined) broken.push(`${name} ${problem}: midship repair delete ${name}`);
    }
    report(output, `store: ${objects} objects, revision ${store.revision}`, broken);
    const { repository } = filesOf(dataDirectory);
    const findings = await checkRepository(repository);
    report(output, `repository: ${repository}`, findings);
    return broken.length + findings.length === 0 ? 0 : 1;
  });
}

function report(output: NodeJS.WritableStream, what: string, findings: readonly string[]): void {
  output.write(`${findings.length === 0 ? '✓' : '✗'} ${what}\n`);
  for (const finding of findings) output.write(`  ${plain(finding)}\n`);
}

/** Says why the API could not serve a row; undefined when it can. */
function problemOf({ key, text }: StoredObject): string | undefined {
  if (text.startsWith(sealedMark)) return undefined;
  try {
    const { metadata } = JSON.parse(text) as { readonly metadata?: { readonly name?: unknown } };
    return metadata?.name === key.slice(key.lastIndexOf('/') + 1) ? undefined : 'does not have the name of its key';
  } catch {
    return 'is not JSON';
  }
}

export function repairList(context: RepairContext & { readonly kind: string | undefined }): Promise<ExitCode> {
  return withStore(context, async (store) => {
    const rows = [['OBJECT', 'REVISION', 'BYTES']];
    const prefix = context.kind === undefined ? '' : `${await prefixOf(store, context.kind)}/`;
    for await (const { key, revision, text } of objectsOf(store, prefix)) {
      rows.push([nameOf(store, key), String(revision), String(Buffer.byteLength(text))]);
    }
    context.output.write(table(rows));
    return 0;
  });
}

export function repairGet(context: RepairContext & { readonly object: string }): Promise<ExitCode> {
  return withStore(context, async (store) => {
    const { text } = await find(store, context.object);
    if (text.startsWith(sealedMark)) {
      throw new Failure(`${context.object} is stored encrypted`, {
        why: 'Its text is sealed with a key of the data directory, and this command opens none.',
        fix: 'Read it by kubectl once the cluster runs; "midship repair delete" keeps the sealed text.',
      });
    }
    context.output.write(asYaml(text));
    return 0;
  });
}

function asYaml(text: string): string {
  try {
    return formatYaml(JSON.parse(text));
  } catch {
    // The broken text is what somebody wants to see.
    return `${plain(text)}\n`;
  }
}

/** Takes an object out of the store. Its text is kept in `repaired/`, so that a slip loses nothing. */
export function repairDelete(context: RepairContext & { readonly object: string }): Promise<ExitCode> {
  return withStore(context, async (store) => {
    const found = await find(store, context.object);
    const directory = join(context.dataDirectory, 'repaired');
    await makeDurableDirectory(directory);
    const kept = join(directory, `${found.key.replaceAll('/', '_')}-${found.revision}.json`);
    await writeDurableFile(kept, found.text);
    if (!(await store.delete(found))) throw new Error(`${found.key} was changed while it was deleted`);
    context.output.write(`deleted ${nameOf(store, found.key)}; its text is in ${kept}\n`);
    return 0;
  });
}

/** Takes what is intact out of a store that a start refuses as damaged. The damaged files are kept. */
export async function repairSalvage({ dataDirectory, salvageStore, output }: RepairContext): Promise<ExitCode> {
  await refuseRunning(dataDirectory);
  const { rows, newestRevision, damaged, keptAs } = await salvageStore(dataDirectory);
  output.write(`✓ store: ${rows} intact rows, up to revision ${newestRevision}; the damaged files are kept as ${keptAs}\n`);
  for (const { key, revision } of damaged) output.write(`  lost: revision ${revision} of ${plain(key)}\n`);
  output.write('  An object whose newest row is lost is as it was before, or absent; what Git says is applied by the next start.\n');
  return 0;
}

async function withStore({ dataDirectory, openStore }: RepairContext, work: (store: StoppedStore) => Promise<ExitCode>): Promise<ExitCode> {
  await refuseRunning(dataDirectory);
  const store = await openStore(dataDirectory);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

async function refuseRunning(dataDirectory: string): Promise<void> {
  const running = await readEndpoints(dataDirectory).catch((err: unknown) => {
    if (err instanceof Failure) return undefined;
    throw err;
  });
  if (running !== undefined) {
    throw new Failure(`the cluster of ${dataDirectory} is running`, {
      why: `Process ${running.pid} has its files; while it runs, kubectl changes its objects.`,
      fix: `Stop it first: midship down --data-dir ${dataDirectory}`,
    });
  }
}

async function* objectsOf(store: StoppedStore, prefix: string): AsyncIterable<StoredObject> {
  for (let after: string | undefined; ; ) {
    const { entries, more } = await store.range({ prefix, limit: pageSize, ...(after === undefined ? {} : { after }) });
    yield* entries;
    after = entries.at(-1)?.key;
    if (!more || after === undefined) return;
  }
}

async function find(store: StoppedStore, object: string): Promise<StoredObject> {
  const [kind = '', ...rest] = object.split('/');
  if (rest.length === 0 || rest.length > 2 || rest.includes('')) {
    throw new Failure(`${JSON.stringify(object)} names no object`, {
      why: 'An object is named KIND/NAMESPACE/NAME, or KIND/NAME where its kind has no namespaces.',
      fix: '"midship repair list" prints the names.',
    });
  }
  const found = await store.get(`${await prefixOf(store, kind)}/${rest.join('/')}`);
  if (found !== undefined) return found;
  throw new Failure(`there is no ${object}`, {
    why: 'The store has no such object.',
    fix: `"midship repair list ${kind}" prints those of the kind.`,
    exitCode: 1,
  });
}

/** By kind, resource, singular or short name, with or without its group; kinds of definitions by their resource. */
async function prefixOf(store: StoppedStore, word: string): Promise<string> {
  const wanted = word.toLowerCase();
  for (const { prefix, kind } of store.kinds) {
    const names = [kind.kind.toLowerCase(), kind.resource, kind.singular, ...kind.shortNames];
    if (names.some((name) => name === wanted || `${name}.${kind.group}` === wanted)) return prefix;
  }
  const stored = (await storedPrefixes(store)).find((prefix) => {
    const [group, resource] = prefix.split('/');
    return resource === wanted || `${resource}.${group}` === wanted;
  });
  if (stored !== undefined) return stored;
  const near = nearest(
    wanted,
    store.kinds.map(({ kind }) => kind.kind.toLowerCase()),
  );
  throw new Failure(`there is no kind ${JSON.stringify(word)}`, {
    why: `No kind of that name is served or stored${near === undefined ? '.' : `; did you mean ${near}?`}`,
    fix: '"midship repair list" prints what there is; kinds of CustomResourceDefinitions are named RESOURCE.GROUP.',
  });
}

/** Jumps from the first object of a prefix to the first behind it, so that it reads one object a kind. */
async function storedPrefixes(store: StoppedStore): Promise<readonly string[]> {
  const prefixes: string[] = [];
  for (let after = ''; ; ) {
    const { entries } = await store.range({ prefix: '', limit: 1, after });
    const [group, resource] = entries[0]?.key.split('/') ?? [];
    if (group === undefined || resource === undefined) return prefixes;
    prefixes.push(`${group}/${resource}`);
    // No name begins with it, and every name comes before it.
    after = `${group}/${resource}/\uffff`;
  }
}

/** `Pod/web/a`; a kind of a definition is named by its resource: `widgets.example.com/web/a`. */
function nameOf(store: StoppedStore, key: string): string {
  const [group = '', resource = '', ...rest] = key.split('/');
  const kind = store.kinds.find(({ prefix }) => prefix === `${group}/${resource}`)?.kind.kind;
  return [kind ?? `${resource}.${group}`, ...rest].join('/');
}
