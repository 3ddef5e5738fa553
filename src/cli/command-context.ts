import type { Command } from 'commander';
import type { ExitCode } from './failure.ts';

export interface DataDirectoryFlags {
  readonly dataDir?: string;
}

/** Handed to the functions that add commands to the program. */
export interface CommandContext {
  readonly environment: NodeJS.ProcessEnv;
  readonly output: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** For what is not the answer. */
  readonly notes: NodeJS.WriteStream;
  readonly version: string;
  /** Gives a command the flag `--data-dir`. */
  withDataDirectory(command: Command): Command;
  dataDirectoryOf(flags: DataDirectoryFlags): Promise<string>;
  done(exitCode: ExitCode): void;
}
