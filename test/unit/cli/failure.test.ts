import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { tryExplainSystemError } from '../../../src/cli/failure.ts';
import { insufficientStorage } from '../../../src/machinery/status-error.ts';

describe('an error of the operating system', () => {
  it('that a person can repair is no defect of the program', () => {
    const err = Object.assign(new Error("EACCES: permission denied, open '/x'"), { code: 'EACCES', path: '/x' });
    expect(tryExplainSystemError(err)).toMatchObject({ message: '/x cannot be used (EACCES)', exitCode: 2 });
    const file = Object.assign(new Error("ENOTDIR: not a directory, mkdir '/x/y'"), { code: 'ENOTDIR', path: '/x/y' });
    expect(tryExplainSystemError(file)).toMatchObject({ message: '/x/y cannot be used (ENOTDIR)', exitCode: 2 });
    const spawning = Object.assign(new Error('spawn git EAGAIN'), { code: 'EAGAIN', syscall: 'spawn git', path: 'git' });
    expect(tryExplainSystemError(spawning)).toMatchObject({ message: 'spawn git EAGAIN', fix: expect.stringContaining('ulimit -u') });
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    expect(tryExplainSystemError(full)).toMatchObject({ message: full.message, why: 'The disk is full.' });
    const refused = insufficientStorage('the disk of /x is full: all else is refused');
    expect(tryExplainSystemError(refused)).toMatchObject({ message: refused.message, fix: expect.stringContaining('--data-dir DIR') });
  });

  it('that says something about the program is one', async () => {
    const missing = await readFile('/proc/none').catch((err: unknown) => err);
    for (const err of [missing, new Error('x'), 'x']) expect(tryExplainSystemError(err)).toBeUndefined();
  });
});
