import { describe, expect, it } from 'vitest';
import { type ProcessStat, parseProcessStat } from '../../../../src/base/process-identity.ts';
import { descendantsOf, parseListeners } from '../../../../src/node-agent/process/proc.ts';

describe('a /proc/PID/stat line', () => {
  it('is read also when the command has spaces and parentheses in its name', () => {
    const line =
      '4242 (my (odd) cmd) S 17 4242 4242 0 -1 4194304 79 0 0 0 11 22 33 44 20 0 1 0 205114 3366912 449 18446744073709551615 1 2 3 4 5 6 7';
    expect(parseProcessStat(line)).toEqual({
      pid: 4242,
      state: 'S',
      parentPid: 17,
      processGroup: 4242,
      foregroundGroup: -1,
      cpuTicks: 110,
      startTime: 205114,
      rssPages: 449,
    });
  });

  it('is refused when it is something else', () => {
    expect(() => parseProcessStat('no such thing')).toThrow('not a process stat line');
  });
});

describe('the descendants of a process', () => {
  const stat = (pid: number, parentPid: number): ProcessStat => ({
    pid,
    parentPid,
    processGroup: pid,
    foregroundGroup: -1,
    state: 'S',
    cpuTicks: 0,
    startTime: 0,
    rssPages: 0,
  });

  it('are found at any depth, itself first, and nobody else', () => {
    const processes = [stat(5, 4), stat(1, 0), stat(2, 1), stat(3, 2), stat(4, 2), stat(9, 1)];
    expect(descendantsOf(2, processes).map(({ pid }) => pid)).toEqual([2, 3, 4, 5]);
    expect(descendantsOf(77, processes)).toEqual([]);
  });

  it('end where a scan that raced with exits goes in a circle', () => {
    expect(descendantsOf(1, [stat(1, 2), stat(2, 1)]).map(({ pid }) => pid)).toEqual([1, 2]);
  });
});

describe('a table of sockets', () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0210407F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0000000000000000 100 0 0 10 0
   1: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0000000000000000 100 0 0 10 0
   2: 0210407F:1F90 0310407F:8000 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0000000000000000 20 4 30 10 -1
`;
  it('shows who listens where, of the sockets asked for', () => {
    expect(parseListeners(table, new Set(['111', '333']))).toEqual([{ address: '127.64.16.2', port: 8080 }]);
    expect(parseListeners(table, new Set(['222']))).toEqual([{ address: '0.0.0.0', port: 8081 }]);
  });

  it('is read for IPv6 too', () => {
    const row = (address: string) =>
      `header\n 0: ${address}:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 7 1 0 100 0 0 10 0\n`;
    const addressOf = (hex: string) => parseListeners(row(hex), new Set(['7']))[0]?.address;
    expect(addressOf('00000000000000000000000000000000')).toBe('::');
    expect(addressOf('0000000000000000FFFF00000210407F')).toBe('127.64.16.2');
    expect(addressOf('000080FE000000000000000001000000')).toBe('fe80:0:0:0:0:0:0:1');
  });
});
