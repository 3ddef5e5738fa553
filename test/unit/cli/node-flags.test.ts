import { Command } from 'commander';
import { expect, it } from 'vitest';
import { type NodeFlags, nodeAddressOf, nodeSettingsOf, withNodeFlags } from '../../../src/cli/node-flags.ts';

function parse(...args: string[]): NodeFlags {
  const command = withNodeFlags(new Command().exitOverride().configureOutput({ writeErr: () => undefined }));
  return command.parse(args, { from: 'user' }).opts();
}

it('reads name, address, labels and taints as k3s does', () => {
  const flags = parse(
    ...[
      '--node-name',
      'Worker-1',
      '--node-ip',
      '192.0.2.7',
      '--node-external-ip',
      '198.51.100.7',
      '--node-label',
      'disk=ssd',
      '--node-label',
      'topology.kubernetes.io/zone=a',
    ],
    ...['--node-taint', 'only=gpu:NoSchedule', '--node-taint', 'old:PreferNoSchedule'],
  );
  expect(nodeSettingsOf(flags)).toEqual({
    nodeName: 'worker-1',
    externalAddress: '198.51.100.7',
    labels: { disk: 'ssd', 'topology.kubernetes.io/zone': 'a' },
    taints: [
      { key: 'only', value: 'gpu', effect: 'NoSchedule' },
      { key: 'old', effect: 'PreferNoSchedule' },
    ],
    shutdown: { allMs: 30_000, criticalMs: 10_000 },
  });
  expect(nodeAddressOf(flags)).toBe('192.0.2.7');
});

it('reads thresholds for evictions as k3s passes them to a kubelet', () => {
  const hard = ['--kubelet-arg', 'eviction-hard=memory.available<200Mi', '--kubelet-arg', 'eviction-hard=pid.available<5%'];
  expect(nodeSettingsOf(parse('--node-name', 'a', ...hard)).eviction?.thresholds).toMatchObject([
    { signal: 'memory.available', value: { amount: 200 * 1024 ** 2 } },
    { signal: 'pid.available', value: { share: 0.05 } },
  ]);
  const wrong = parse('--node-name', 'a', '--kubelet-arg', 'eviction-hard=memory.available');
  expect(() => nodeSettingsOf(wrong)).toThrow('--kubelet-arg eviction-hard cannot be used');
});

it.each([
  [['--kubelet-arg', 'max-pods=200'], 'Not supported: max-pods. Supported are eviction-hard, eviction-soft,'],
  [['--kubelet-arg', 'eviction-hard'], 'An argument of a kubelet is KEY=VALUE'],
  [['--node-name', 'a_b'], 'is no name of a Node'],
  [['--node-ip', '::1'], 'IPv6 is not supported yet'],
  [['--node-external-ip', '2001:db8::1'], 'IPv6 is not supported yet'],
  [['--node-external-ip', 'gateway.example.com'], 'An IPv4 address'],
  [['--node-external-ip', '127.0.0.1'], 'Nobody outside reaches 127.0.0.1: may not be in the loopback range'],
  [['--node-external-ip', '0.0.0.0'], 'Nobody outside reaches 0.0.0.0: may not be unspecified'],
  [['--node-label', 'disk'], 'A label is KEY=VALUE.'],
  [['--node-label', 'node-role.kubernetes.io/control-plane=true'], 'A node may not give itself the label'],
  [['--node-taint', 'only=gpu:Sometimes'], 'A taint is KEY=VALUE:EFFECT'],
])('refuses %j', (args, message) => {
  expect(() => parse(...args)).toThrow(message);
});
