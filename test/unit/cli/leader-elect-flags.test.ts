import { Command } from 'commander';
import { expect, it } from 'vitest';
import type { LeaderElectionFlags } from '../../../src/cli/components.ts';
import { electionOf, withLeaderElectFlags } from '../../../src/cli/leader-elect-flags.ts';

function parse(...args: string[]): LeaderElectionFlags {
  const command = withLeaderElectFlags(new Command().exitOverride().configureOutput({ writeErr: () => undefined }));
  return electionOf(command.parse(args, { from: 'user' }).opts());
}
const [lease, renew, retry] = ['lease-duration', 'renew-deadline', 'retry-period'].map((name) => `--leader-elect-${name}`) as [
  string,
  string,
  string,
];

it('reads the flags of an election as upstream has them', () => {
  expect(parse().timing).toEqual({ leaseDurationMs: 10_000, renewDeadlineMs: 7_000, retryPeriodMs: 1_500 });
  const named = ['--leader-elect-resource-name', 'mine', '--leader-elect-resource-namespace', 'ops'];
  expect(parse(lease, '1m', renew, '0.5m', retry, '200ms', ...named)).toEqual({
    timing: { leaseDurationMs: 60_000, renewDeadlineMs: 30_000, retryPeriodMs: 200 },
    resourceName: 'mine',
    resourceNamespace: 'ops',
  });
});

it.each([
  [[lease, '7s'], 'must be greater than --leader-elect-renew-deadline'],
  [[retry, '6s'], 'must be greater than 1.2 times --leader-elect-retry-period'],
  [[lease, '7500ms'], 'Whole seconds'],
  [[renew, '0s'], 'A duration of at most an hour'],
  [[renew, '-1s'], 'A duration of at most an hour'],
  [[retry, '10'], 'A duration of at most an hour'],
])('refuses %s', (args, message) => {
  expect(() => parse(...args)).toThrow(message);
});
