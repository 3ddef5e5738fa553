import { once } from 'node:events';
import { StringDecoder } from 'node:string_decoder';
import { printable } from '../base/plain-text.ts';
import type { HttpClient, LogOptions } from '../client/http-client.ts';
import { createLookup } from '../gitops/verbs/lookup.ts';
import { type LivePod, podsOfApp, podsOfObject } from '../gitops/verbs/pods.ts';
import { findObject } from '../gitops/verbs/why.ts';
import { type AppCommand, findApp, tryApp, withClient } from './connect.ts';
import { type ExitCode, Failure } from './failure.ts';

export interface LogsOptions extends Omit<AppCommand, 'format'>, Pick<LogOptions, 'follow' | 'previous' | 'sinceSeconds'> {
  /** `APP`, `NAMESPACE/APP` or `KIND/NAME`. */
  readonly target: string;
  /** Undefined: the one that `kubectl logs` takes. */
  readonly container: string | undefined;
  /** Newest lines of each pod, -1 for all; undefined: all of one pod, `defaultTail` of each of several. */
  readonly tail: number | undefined;
  readonly notes: NodeJS.WritableStream;
  readonly signal: AbortSignal;
}

/** As with `kubectl logs` of a selector. */
const defaultTail = 10;
/** Logs that are followed at the same time: each takes a connection. */
const maxFollowed = 50;
/** A longer line is printed in pieces. */
const maxLineLength = 64 * 1024;

const defaultContainerAnnotation = 'kubectl.kubernetes.io/default-container';

/** A container whose log is read. */
interface Source {
  readonly pod: LivePod;
  readonly container: string;
}

/** Prints what the pods of an app or an object write; with several of them, each line begins with its pod and container. */
export function showLogs(options: LogsOptions): Promise<ExitCode> {
  return withClient(options, async (client): Promise<ExitCode> => {
    const sources = sourcesOf(await podsOf(client, options), options);
    const isOne = sources.length === 1;
    const tailLines = options.tail ?? (isOne ? -1 : defaultTail);
    const query = {
      follow: options.follow,
      previous: options.previous,
      sinceSeconds: options.sinceSeconds,
      tailLines: tailLines === -1 ? undefined : tailLines,
      signal: options.signal,
    };
    const print = async (source: Source): Promise<void> => {
      const { pod, container } = source;
      const prefix = isOne ? '' : `[pod/${pod.metadata.name}/${container}] `;
      await copyLines(await client.openLog(pod.metadata, { ...query, container }), { ...options, prefix });
    };
    try {
      if (options.follow) await Promise.all(sources.map(print));
      else await printEach(sources, { print, isOne, notes: options.notes });
      return 0;
    } catch (err) {
      if (options.signal.aborted) return 130;
      throw err;
    }
  });
}

/** A pod without a log, for example one that has not started, does not hide the logs of the others. */
async function printEach(
  sources: readonly Source[],
  { print, isOne, notes }: { print(source: Source): Promise<void>; readonly isOne: boolean; readonly notes: NodeJS.WritableStream },
): Promise<void> {
  let failure: unknown;
  let printed = 0;
  for (const source of sources) {
    try {
      await print(source);
      printed += 1;
    } catch (err) {
      if (isOne) throw err;
      failure ??= err;
      notes.write(`pod/${source.pod.metadata.name}: ${printable(err instanceof Error ? err.message : String(err))}\n`);
    }
  }
  if (printed === 0) throw failure;
}

async function podsOf(client: HttpClient, { target, namespace }: LogsOptions): Promise<readonly LivePod[]> {
  const lookup = createLookup(client);
  const query = { client, lookup };
  const parts = target.split('/');
  const isApp = parts.length === 1 || (parts.length === 2 && (await tryApp(client, target)) !== undefined);
  if (isApp) {
    const found = await podsOfApp(query, await findApp(client, target, namespace));
    if (found.length > 0) return found;
    throw noPods(`app ${target}`, `midship tree ${target}`);
  }
  const [kind = '', name = ''] = parts;
  const resource = parts.length === 2 ? await lookup.kind(kind) : undefined;
  if (resource === undefined) {
    throw new Failure(`${JSON.stringify(target)} names neither an app nor an object`, {
      why: 'It is APP, NAMESPACE/APP, pod/NAME or KIND/NAME, and the cluster has no such app or kind.',
      fix: 'See: midship get apps, or kubectl api-resources',
    });
  }
  const object = await findObject(query, resource, { name, namespace, appRef: undefined });
  if (object === undefined) {
    throw new Failure(`there is no ${resource.kind} ${name}`, {
      why: namespace === undefined ? 'It was looked for in the namespaces of the apps’ objects.' : `It was looked for in ${namespace}.`,
      fix: 'Give its namespace: -n NAMESPACE',
    });
  }
  const found = await podsOfObject(query, object);
  if (found.length > 0) return found;
  throw noPods(`${resource.kind} ${name}`, `midship why ${target}`);
}

const noPods = (what: string, fix: string): Failure =>
  new Failure(`${what} has no pods`, { why: 'Only pods write logs, and none came of it.', fix: `See: ${fix}`, exitCode: 1 });

function sourcesOf(pods: readonly LivePod[], { container, follow, notes }: LogsOptions): readonly Source[] {
  const sources = pods.flatMap((pod): readonly Source[] => {
    const chosen = container ?? defaultContainerOf(pod);
    return namesOf(pod).includes(chosen) ? [{ pod, container: chosen }] : [];
  });
  if (sources.length === 0) {
    const names = [...new Set(pods.flatMap(namesOf))];
    throw new Failure(`there is no container ${container ?? ''}`, {
      why: `Containers there: ${names.join(', ')}.`,
      fix: 'Name one of them: -c CONTAINER',
    });
  }
  if (follow && sources.length > maxFollowed) {
    throw new Failure(`${sources.length} logs are too many to follow`, {
      why: `Each takes a connection, and at most ${maxFollowed} are followed.`,
      fix: 'Name fewer: KIND/NAME or pod/NAME in place of the app.',
    });
  }
  const [only] = pods;
  if (only !== undefined && pods.length === 1 && container === undefined && namesOf(only).length > 1)
    notes.write(`Defaulted container "${sources[0]?.container}" out of: ${namesOf(only).join(', ')}\n`);
  return sources;
}

const namesOf = ({ spec }: LivePod): readonly string[] => [...spec.containers, ...(spec.initContainers ?? [])].map(({ name }) => name);

function defaultContainerOf(pod: LivePod): string {
  const named = pod.metadata.annotations?.[defaultContainerAnnotation];
  return named !== undefined && namesOf(pod).includes(named) ? named : (pod.spec.containers[0]?.name ?? '');
}

interface Copying {
  readonly prefix: string;
  readonly output: NodeJS.WritableStream;
  readonly signal: AbortSignal;
}

/** Writes whole lines, so that those of several pods do not mix. A terminal gets no escape sequences of pods but colours. */
export async function copyLines(log: AsyncIterable<Buffer>, { prefix, output, signal }: Copying): Promise<void> {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  const write = async (lines: readonly string[]): Promise<void> => {
    if (lines.length === 0) return;
    const text = lines.map((line) => `${prefix}${printable(line)}\n`).join('');
    if (!output.write(text)) await once(output, 'drain', { signal });
  };
  for await (const chunk of log) {
    const lines = (rest + decoder.write(chunk)).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > maxLineLength) {
      lines.push(rest);
      rest = '';
    }
    await write(lines);
  }
  rest += decoder.end();
  if (rest !== '') await write([rest]);
}
