import { readBoundedFile } from '../base/bounded-file.ts';
import { filesOf, type Setting } from './configuration.ts';
import { runsIn } from './data-directory.ts';
import { type ExitCode, Failure } from './failure.ts';
import type { Format } from './format.ts';
import { table, writeResult } from './output.ts';

export interface ConfigOptions {
  readonly dataDirectory: string;
  /** Flags that a start would take now. */
  readonly defaults: readonly Setting[];
  readonly format: Format;
  readonly output: NodeJS.WritableStream;
}

/** The start that the settings belong to. `next start`: there was none, and these are the defaults. */
type Of = 'running' | 'last start' | 'next start';

const maxFileBytes = 1024 * 1024;

/** Shows the configuration of a cluster or an agent: each value, and where it comes from. */
export async function showConfig(options: ConfigOptions): Promise<ExitCode> {
  const { dataDirectory, defaults } = options;
  const kept = await readSettings(filesOf(dataDirectory).settings);
  const of: Of = kept === undefined ? 'next start' : (await runsIn(dataDirectory)) ? 'running' : 'last start';
  await writeResult(options, { dataDirectory, of, settings: kept ?? defaults }, ({ settings }) => {
    const head = `${dataDirectory}: ${texts[of]}\n\n`;
    return head + table([['NAME', 'VALUE', 'FROM'], ...settings.map(({ name, value, from }) => [name, value === '' ? '-' : value, from])]);
  });
  return 0;
}

const texts: Readonly<Record<Of, string>> = {
  running: 'configuration of the process that runs',
  'last start': 'configuration of its last start; nothing runs there',
  'next start': 'no cluster was started here; configuration of a start without flags',
};

/** Settings of the last start; undefined when there was none. */
export async function readSettings(path: string): Promise<readonly Setting[] | undefined> {
  const text = await readBoundedFile(path, maxFileBytes).catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return undefined;
    throw err;
  });
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text.toString('utf8')) as readonly Setting[];
  } catch (cause) {
    throw new Failure(`${path} cannot be read`, {
      why: 'It is no JSON; a power cut or an editor left a part of it.',
      fix: 'The next start of the cluster writes it again.',
      cause,
    });
  }
}
