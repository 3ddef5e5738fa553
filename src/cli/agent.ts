import { setMaxListeners } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { writeDurableFile } from '../base/durable-file.ts';
import { createLog } from '../base/log.ts';
import { openLogFile } from '../base/log-file.ts';
import { thisProcess } from '../base/process-identity.ts';
import { type AgentConfiguration, startAgent } from './compose/agent.ts';
import type { Running } from './compose/part.ts';
import { filesOf } from './configuration.ts';
import { directoryIdentity, ensureDataDirectory, type RunningAgent, refuseRunning } from './data-directory.ts';
import type { ProgramContext } from './program.ts';
import { createStopRequests } from './stop-requests.ts';
import { createTerminal } from './terminal.ts';

/** Runs the agent of this machine until it is asked to stop; gives the exit code. */
export async function runAgent(
  configuration: AgentConfiguration,
  { stdout, version }: Pick<ProgramContext, 'stdout' | 'version'>,
): Promise<number> {
  // Every user of the machine can read the arguments of a program; the token is not for them.
  process.title = 'midship agent';
  const { dataDirectory } = configuration;
  const files = filesOf(dataDirectory);
  await refuseRunning(dataDirectory);
  await ensureDataDirectory(dataDirectory);
  await writeDurableFile(files.settings, `${JSON.stringify(configuration.settings ?? [], undefined, 2)}\n`);
  const logFile = openLogFile({ path: join(files.logs, 'midship.log') });
  process.once('exit', logFile.flush);
  const log = createLog({ level: configuration.logLevel, destination: logFile });
  stdout.removeAllListeners('error').on('error', (err) => log.debug({ err }, 'Lost the terminal'));
  const terminal = createTerminal(stdout);
  const abort = new AbortController();
  setMaxListeners(100, abort.signal);
  const stopped = createStopRequests(abort);
  terminal.line(`  midship ${version}   agent\n`);
  let agent: Running | undefined;
  // By this file "midship down" finds the process, also one that waits for its server.
  const running: RunningAgent = {
    agentOf: configuration.server,
    isJoined: false,
    directory: await directoryIdentity(dataDirectory),
    ...(await thisProcess()),
  };
  const publish = (state: RunningAgent): Promise<void> => writeDurableFile(files.endpoints, `${JSON.stringify(state, undefined, 2)}\n`);
  await publish(running);
  try {
    agent = await startAgent({
      configuration,
      log,
      version,
      signal: abort.signal,
      clock: systemClock,
      random: Math.random,
      onStep: terminal.step,
      onWaiting: (why) => terminal.warning(`${configuration.server} does not answer (${why}); waiting for it`),
      onWarning: terminal.warning,
    });
    await publish({ ...running, isJoined: true });
    terminal.line('\n  midship down stops it');
    await stopped.reason;
    return stopped.exitCode();
  } catch (err) {
    if (abort.signal.aborted) return stopped.exitCode();
    throw err;
  } finally {
    try {
      if (agent !== undefined) {
        terminal.line('\n  stopping the pods');
        await agent.stop();
        terminal.line('  stopped');
      }
    } finally {
      // Last: "midship down" waits for the process that the file names, and would find its addresses taken without it.
      await rm(files.endpoints, { force: true });
      stopped.close();
    }
  }
}
