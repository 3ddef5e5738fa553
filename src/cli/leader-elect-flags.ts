import { type Command, InvalidArgumentError, Option } from 'commander';
import { isDuration, parseDuration } from '../api/flux.ts';
import { jitterFactor } from '../base/leader-election-timing.ts';
import type { LeaderElectionFlags } from './components.ts';
import { Failure } from './failure.ts';

/** Flags of upstream's components, by their names. */
export interface LeaderElectFlags {
  readonly leaderElectLeaseDuration: number;
  readonly leaderElectRenewDeadline: number;
  readonly leaderElectRetryPeriod: number;
  readonly leaderElectResourceName?: string;
  readonly leaderElectResourceNamespace?: string;
}

/** The defaults are shorter than upstream's 15, 10 and 2 s: pods wait while nobody leads. */
export const withLeaderElectFlags = (command: Command): Command =>
  command
    .addOption(
      new Option('--leader-elect-lease-duration <duration>', 'others take over after so long without a renewal; whole seconds')
        .argParser(parseLeaseDuration)
        .default(10_000, '10s'),
    )
    .addOption(
      new Option('--leader-elect-renew-deadline <duration>', 'a leader that cannot renew for so long ends')
        .argParser(parseFlag)
        .default(7_000, '7s'),
    )
    .addOption(new Option('--leader-elect-retry-period <duration>', 'between two tries').argParser(parseFlag).default(1_500, '1.5s'))
    .option('--leader-elect-resource-name <name>', "Lease; default: that of Kubernetes' own component")
    .option('--leader-elect-resource-namespace <namespace>', 'and its namespace; default: kube-system');

/** @throws Failure for times with which two could lead, or none for long; upstream refuses the same */
export function electionOf(flags: LeaderElectFlags): LeaderElectionFlags {
  const timing = {
    leaseDurationMs: flags.leaderElectLeaseDuration,
    renewDeadlineMs: flags.leaderElectRenewDeadline,
    retryPeriodMs: flags.leaderElectRetryPeriod,
  };
  if (timing.leaseDurationMs <= timing.renewDeadlineMs)
    throw new Failure('--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline', {
      why: 'Another process could lead before this one has given up.',
      fix: 'Choose a longer one, such as 10s with a deadline of 7s.',
    });
  if (timing.renewDeadlineMs <= timing.retryPeriodMs * jitterFactor)
    throw new Failure(`--leader-elect-renew-deadline must be greater than ${jitterFactor} times --leader-elect-retry-period`, {
      why: 'A single renewal that fails would end the leadership.',
      fix: 'Choose a shorter period, such as 1.5s with a deadline of 7s.',
    });
  return { timing, resourceName: flags.leaderElectResourceName, resourceNamespace: flags.leaderElectResourceNamespace };
}

/** An hour without a leader is no setting that anybody wants. */
const maxMs = 3_600_000;

function parseFlag(value: string): number {
  const ms = isDuration(value) ? parseDuration(value) : 0;
  if (ms <= 0 || ms > maxMs) throw new InvalidArgumentError('A duration of at most an hour: 10s, 1.5s.');
  return ms;
}

function parseLeaseDuration(value: string): number {
  const ms = parseFlag(value);
  if (ms % 1_000 !== 0) throw new InvalidArgumentError('Whole seconds, as a Lease has them: 10s.');
  return ms;
}
