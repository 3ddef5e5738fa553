import { expect, it } from 'vitest';
import { tryDefaultAddress } from '../../../src/cli/default-address.ts';

const head = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT';
const route = (device: string, metric: number, destination = '00000000', mask = '00000000'): string =>
  `${device}\t${destination}\t010200C0\t0003\t0\t0\t${metric}\t${mask}\t0\t0\t0`;
const has = (name: string, ...addresses: string[]) => ({ name, addresses });
/** A pod of an agent that was killed: its end on this machine has the address of the gateway. */
const pod = has('veth0a1b', '10.42.1.1');

it.each([
  [
    'the default route, though other interfaces come first',
    [route('eth1', 0)],
    [has('eth0', '192.0.2.1'), has('eth1', '192.0.2.2')],
    '192.0.2.2',
  ],
  [
    'the default route with the least metric',
    [route('wlan0', 600), route('eth0', 100)],
    [has('wlan0', '192.0.2.9'), has('eth0', '192.0.2.1')],
    '192.0.2.1',
  ],
  [
    'the next default route, where the first has no address',
    [route('eth0', 100), route('wlan0', 600)],
    [has('eth0'), has('wlan0', '192.0.2.9')],
    '192.0.2.9',
  ],
  [
    'no part of a range for the default route',
    [route('tun0', 0, '00000000', '00000080'), route('eth0', 100)],
    [has('tun0', '10.8.0.2'), has('eth0', '192.0.2.1')],
    '192.0.2.1',
  ],
  ['the default route, though it goes by a bridge', [route('br-lan', 0)], [has('br-lan', '192.0.2.1')], '192.0.2.1'],
  [
    'an interface that is not for guests, without a default route',
    [],
    [pod, has('docker0', '172.17.0.1'), has('eth0', '192.0.2.1')],
    '192.0.2.1',
  ],
  ['nothing, where there are guests alone', [], [pod, has('docker0', '172.17.0.1'), has('midship-vx', '10.42.1.0')], undefined],
])('takes %s', (_, routes, interfaces, address) => {
  expect(tryDefaultAddress([head, ...routes, ''].join('\n'), interfaces)).toBe(address);
});
