import { type RunProgram, runProgram } from '../../base/nft/run-program.ts';

/** The device through which encrypted packets to pods of other machines go. */
export const wireguardDevice = 'midship-wg';

/** The programs `ip` and `bridge` of iproute2, and those of WireGuard. Each call rejects with what the program complains about. */
export interface IpCommands {
  run(...args: readonly string[]): Promise<void>;
  /** The entries that a `show` lists. */
  list<T>(...args: readonly string[]): Promise<readonly T[]>;
  runBridge(...args: readonly string[]): Promise<void>;
  listBridge<T>(...args: readonly string[]): Promise<readonly T[]>;
  runWireguard(...args: readonly string[]): Promise<void>;
  /** Makes a device by a program in place of the kernel. */
  startWireguard(device: string): Promise<void>;
}

export function createIpCommands(run: RunProgram = runProgram): IpCommands {
  const list = async <T>(program: string, options: readonly string[], args: readonly string[]): Promise<readonly T[]> => {
    const text = (await run(program, [...options, ...args])).trim();
    return text === '' ? [] : (JSON.parse(text) as readonly T[]);
  };
  return {
    run: async (...args) => void (await run('ip', args)),
    list: (...args) => list('ip', ['-j', '-4'], args),
    runBridge: async (...args) => void (await run('bridge', args)),
    listBridge: (...args) => list('bridge', ['-j'], args),
    runWireguard: async (...args) => void (await run('wg', args)),
    startWireguard: async (device) => void (await run('wireguard-go', [device])),
  };
}
