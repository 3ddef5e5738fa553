import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { isLoopback } from '../base/loopback.ts';
import type { EtcdSettings } from './configuration.ts';
import { Failure } from './failure.ts';
import { tryParseEtcdAddress } from './store-address.ts';

export interface StoreFlags {
  readonly store?: EtcdSettings['address'] | 'sqlite';
  readonly storeCa?: string;
  readonly storeCert?: string;
  readonly storeKey?: string;
  readonly storeUser?: string;
  readonly storePasswordFile?: string;
  readonly storeInsecure: boolean;
}

export const withStoreFlags = (command: Command): Command =>
  withEtcdFlags(
    command
      .optionsGroup('Store:')
      .addOption(
        new Option(
          '--store <address>',
          'sqlite, or etcd://HOST[:PORT][,…][/PREFIX]: keep the objects and the keys of the cluster in an etcd that runs already; several servers may share it',
        )
          .argParser(parseStore)
          .default(undefined, 'sqlite'),
      ),
  );

/** The flags by which a command that names an etcd reaches it. */
export const withEtcdFlags = (command: Command): Command =>
  command
    .option('--store-ca <file>', 'authority of the certificates of etcd (PEM)')
    .option('--store-cert <file>', 'certificate for etcd (PEM)')
    .option('--store-key <file>', 'and its key')
    .option('--store-user <name>', 'user of etcd')
    .option('--store-password-file <file>', 'and the file with its password')
    .option('--store-insecure', 'reach etcd on another machine without TLS', false);

/** Undefined: SQLite in the data directory. @throws Failure for flags that do not fit together */
export function storeSettingsOf(flags: StoreFlags): EtcdSettings | undefined {
  const { store: address, storeCa, storeCert, storeKey, storeUser, storePasswordFile, storeInsecure } = flags;
  if (address === undefined || address === 'sqlite') {
    const given = Object.entries({ storeCa, storeCert, storeKey, storeUser, storePasswordFile }).find(([, value]) => value !== undefined);
    if (given === undefined) return undefined;
    throw new Failure('a flag for etcd without --store', {
      why: `The store is SQLite in the data directory, and ${flagOf(given[0])} says how to reach etcd.`,
      fix: 'Name the etcd, too: --store etcd://HOST:2379',
    });
  }
  needsBoth(['--store-cert', storeCert], ['--store-key', storeKey]);
  needsBoth(['--store-user', storeUser], ['--store-password-file', storePasswordFile]);
  const hasTls = storeCa !== undefined || storeCert !== undefined;
  if (!hasTls && !storeInsecure && address.endpoints.some(({ host }) => !isLoopback(host))) {
    throw new Failure('etcd on another machine is reached by TLS alone', {
      why: 'Everything that the cluster knows, Secrets included, would cross the network in plain text.',
      fix: 'Give --store-ca FILE (with --store-cert and --store-key for a client certificate), or --store-insecure on a network of your own.',
    });
  }
  return {
    address,
    ...(hasTls ? { tls: { ca: absolute(storeCa), certificate: absolute(storeCert), key: absolute(storeKey) } } : {}),
    ...(storeUser === undefined ? {} : { login: { user: storeUser, passwordFile: resolve(storePasswordFile ?? '') } }),
  };
}

const absolute = (file: string | undefined): string | undefined => (file === undefined ? undefined : resolve(file));

const flagOf = (name: string): string => `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

function needsBoth([first, one]: readonly [string, string | undefined], [second, other]: readonly [string, string | undefined]): void {
  if ((one === undefined) === (other === undefined)) return;
  throw new Failure(`missing flag: ${one === undefined ? first : second}`, {
    why: `${first} works only with ${second}.`,
    fix: 'Give both.',
  });
}

/** commander makes an empty text of undefined, so SQLite has a name. */
function parseStore(value: string): NonNullable<StoreFlags['store']> {
  if (value === 'sqlite') return value;
  const address = tryParseEtcdAddress(value);
  if (address === undefined) throw new InvalidArgumentError('Neither sqlite nor etcd://HOST[:PORT][,HOST[:PORT]…][/PREFIX].');
  return address;
}
