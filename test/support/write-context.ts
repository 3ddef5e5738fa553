import type { WriteContext } from '../../src/machinery/kind.ts';

/** The user and the second of the recordings. */
export const writeContext: WriteContext = {
  now: '2026-11-24T07:33:52Z',
  user: { name: 'admin', uid: 'u-admin', groups: ['system:masters', 'system:authenticated'] },
};
