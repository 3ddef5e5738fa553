import { expect, it } from 'vitest';
import { whyNoNft } from '../../../../src/base/nft/run-program.ts';
import { policyFrame } from '../../../../src/network-policy/policy-rules.ts';

const frame = policyFrame('midship-policy-7');

it('a machine without nft differs from a kernel that takes no tables', async () => {
  const fail = (err: Error) => whyNoNft(frame, async () => Promise.reject(err));
  expect(await fail(Object.assign(new Error('spawn nft ENOENT'), { code: 'ENOENT' }))).toBe('the program nft is not installed');
  const words = 'nft ended with 1: Error: Could not process rule: Operation not supported';
  expect(await fail(new Error(words))).toBe(words);
});

it('a table is only tried, and stays out of the kernel', async () => {
  const calls: (readonly string[])[] = [];
  const run = async (program: string, args: readonly string[]): Promise<string> => {
    calls.push([program, ...args]);
    return '';
  };
  expect(await whyNoNft(frame, run)).toBeUndefined();
  expect(calls).toEqual([['nft', '-c', '-f', '-']]);
});
