import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { CommandContext, DataDirectoryFlags } from './command-context.ts';
import { Failure } from './failure.ts';
import { type Format, formats } from './format.ts';
import { parseMachineDuration } from './node-flags.ts';
import type { RepairContext } from './repair.ts';
import { readServerToken, type ServerToken } from './server-token.ts';
import { formatEtcdAddress, tryParseEtcdAddress } from './store-address.ts';
import { type StoreFlags, storeSettingsOf, withEtcdFlags, withStoreFlags } from './store-flags.ts';

/** The commands that keep, restore and repair the data of a cluster. */
export function addDataCommands(program: Command, context: CommandContext): void {
  const { output, version, withDataDirectory, dataDirectoryOf, done } = context;
  withDataDirectory(program.command('backup').description('write everything that a cluster is into one file, while it runs or not'))
    .argument('<file>', 'a new file; it holds all keys and Secrets')
    .option('--force', 'replace a file of that name', false)
    .action(async (file: string, flags: DataDirectoryFlags & { readonly force: boolean }) => {
      const { backup } = await import('./backup.ts');
      done(
        await backup({
          dataDirectory: await dataDirectoryOf(flags),
          file: resolve(file),
          force: flags.force,
          output: output,
          version: version,
          openStopped: async (options) => (await import('./compose/stopped-cluster.ts')).openStoppedBackup(options),
        }),
      );
    });
  withStoreFlags(
    withDataDirectory(program.command('restore').description('make a data directory of a backup, and with --store the content of an etcd')),
  )
    .argument('<file>', 'what "midship backup" wrote')
    .option('--token-file <file>', 'token of the servers that the backup is of (server-token); needed when its keys are encrypted')
    .action(async (file: string, flags: DataDirectoryFlags & StoreFlags & TokenFlags) => {
      const { restore } = await import('./restore.ts');
      const [store, token] = [storeSettingsOf(flags), tokenOf(flags)];
      done(
        await restore({
          file: resolve(file),
          dataDirectory: await dataDirectoryOf(flags),
          output: output,
          store: store === undefined ? undefined : formatEtcdAddress(store.address),
          startFill: async (options) => (await import('./compose/store-fill.ts')).startStoreFill({ ...options, store, token }),
        }),
      );
    });
  addMigrateCommand(program, context);
  addRepairCommands(program, context);
  addCertificateCommands(program, context);
  addEncryptionCommands(program, context);
}

interface TokenFlags {
  readonly tokenFile?: string;
}

const tokenOf = ({ tokenFile }: TokenFlags): ServerToken | undefined =>
  tokenFile === undefined ? undefined : readServerToken(resolve(tokenFile));

function addMigrateCommand(program: Command, { output, done }: CommandContext): void {
  const migrate = program.command('migrate').description('move the objects of a stopped cluster between SQLite and etcd');
  withEtcdFlags(
    migrate
      .requiredOption('--from <place>', 'data directory, or etcd://HOST[:PORT][,…][/PREFIX]')
      .requiredOption('--to <place>', 'the other kind of place; etcd has to be empty there')
      .option('--token-file <file>', 'token of the servers (server-token); otherwise that of the data directory, or a new one'),
  ).action(async (flags: Omit<StoreFlags, 'store'> & TokenFlags & { readonly from: string; readonly to: string }) => {
    const [from, to] = [tryParseEtcdAddress(flags.from), tryParseEtcdAddress(flags.to)];
    const address = from ?? to;
    if (address === undefined || (from !== undefined && to !== undefined)) {
      throw new Failure('one of --from and --to has to be an etcd, and the other one a data directory', {
        why: 'Objects move between SQLite and etcd.',
        fix: 'For example: midship migrate --from /var/lib/midship --to etcd://HOST:2379',
      });
    }
    const store = storeSettingsOf({ ...flags, store: address });
    if (store === undefined) throw new Error('the flags name an etcd');
    const { migrate: run } = await import('./compose/migrate.ts');
    done(
      await run({
        dataDirectory: resolve(from === undefined ? flags.from : flags.to),
        store,
        address: from === undefined ? flags.to : flags.from,
        to: from === undefined ? 'etcd' : 'sqlite',
        token: tokenOf(flags),
        output,
      }),
    );
  });
}

function addRepairCommands(program: Command, { output, withDataDirectory, dataDirectoryOf, done }: CommandContext): void {
  const repair = program.command('repair').description('inspect a stopped cluster that does not start, and remove the damage');
  const repairing = async (flags: DataDirectoryFlags): Promise<RepairContext> => ({
    dataDirectory: await dataDirectoryOf(flags),
    openStore: async (directory) => (await import('./compose/stopped-cluster.ts')).openStoppedStore(directory),
    salvageStore: async (directory) => (await import('./compose/stopped-cluster.ts')).salvageStoppedStore(directory),
    output: output,
  });
  withDataDirectory(repair.command('check').description('verify the store and the built-in repository; 1 when something is broken')).action(
    async (flags: DataDirectoryFlags) => {
      const { repairCheck } = await import('./repair.ts');
      done(await repairCheck(await repairing(flags)));
    },
  );
  withDataDirectory(repair.command('list').description('list the objects of the store'))
    .argument('[kind]', 'only those of this kind')
    .action(async (kind: string | undefined, flags: DataDirectoryFlags) => {
      const { repairList } = await import('./repair.ts');
      done(await repairList({ ...(await repairing(flags)), kind }));
    });
  withDataDirectory(repair.command('get').description('print an object as it is stored'))
    .argument('<object>', 'KIND/NAMESPACE/NAME, or KIND/NAME')
    .action(async (object: string, flags: DataDirectoryFlags) => {
      const { repairGet } = await import('./repair.ts');
      done(await repairGet({ ...(await repairing(flags)), object }));
    });
  withDataDirectory(repair.command('delete').description('take an object out of the store, finalizers or not, and keep its text in a file'))
    .argument('<object>', 'KIND/NAMESPACE/NAME, or KIND/NAME')
    .action(async (object: string, flags: DataDirectoryFlags) => {
      const { repairDelete } = await import('./repair.ts');
      done(await repairDelete({ ...(await repairing(flags)), object }));
    });
  withDataDirectory(
    repair.command('salvage').description('make a store of the intact rows of one that is damaged, and keep the damaged files'),
  ).action(async (flags: DataDirectoryFlags) => {
    const { repairSalvage } = await import('./repair.ts');
    done(await repairSalvage(await repairing(flags)));
  });
}

function addCertificateCommands(program: Command, { output, withDataDirectory, dataDirectoryOf, done }: CommandContext): void {
  const certs = program.command('certs').alias('certificate').description('the certificates and signing keys of a cluster');
  withDataDirectory(certs.command('check').description('list them with the days they have left; 1 when one needs attention'))
    .addOption(new Option('-o, --output <format>', 'output format').choices(['text', 'json']).default('text'))
    .action(async (flags: DataDirectoryFlags & { readonly output: 'text' | 'json' }) => {
      const dataDirectory = await dataDirectoryOf(flags);
      const { checkCertificates } = await import('./certs.ts');
      done(await checkCertificates({ dataDirectory, format: flags.output, output: output, now: Date.now() }));
    });
  withDataDirectory(certs.command('rotate').description('replace them, of a stopped cluster'))
    .option('--ca', 'replace the authorities too; the former ones stay trusted until they end', false)
    .option('--distrust-former', 'trust only the current authorities: copies of an older kubeconfig stop working', false)
    .option('--service-account-key', 'replace the key that signs service account tokens too', false)
    .action(
      async (
        flags: DataDirectoryFlags & {
          readonly ca: boolean;
          readonly distrustFormer: boolean;
          readonly serviceAccountKey: boolean;
        },
      ) => {
        const { rotateCertificates } = await import('./certs.ts');
        done(
          await rotateCertificates({
            dataDirectory: await dataDirectoryOf(flags),
            authorities: flags.ca,
            distrustFormer: flags.distrustFormer,
            serviceAccountKey: flags.serviceAccountKey,
            output: output,
            now: Date.now(),
          }),
        );
      },
    );
  withDataDirectory(
    certs.command('rotate-ca').description('replace the authorities of servers on etcd while they run; each uses them from its next start'),
  ).action(async (flags: DataDirectoryFlags) => {
    const { rotateCa } = await import('./rotate.ts');
    done(await rotateCa({ dataDirectory: await dataDirectoryOf(flags), output }));
  });
  withDataDirectory(
    certs.command('rotate-signing-key').description('replace the key that signs service account tokens, while the cluster runs'),
  )
    .addOption(
      new Option('--overlap <duration>', 'time that tokens of the former key are good: 30m, 24h; 0: they are worthless at once')
        .argParser(parseMachineDuration)
        .default(86_400_000, '24h'),
    )
    .action(async (flags: DataDirectoryFlags & { readonly overlap: number }) => {
      const { rotateSigningKey } = await import('./rotate.ts');
      done(await rotateSigningKey({ dataDirectory: await dataDirectoryOf(flags), overlapMs: flags.overlap, output }));
    });
}

function addEncryptionCommands(program: Command, { output, withDataDirectory, dataDirectoryOf, done }: CommandContext): void {
  const encryption = program.command('secrets-encrypt').description('the encryption of Secrets in the store of a running cluster');
  withDataDirectory(encryption.command('status').description('the keys, and how many values lie under the active one; 1 when some do not'))
    .addOption(new Option('-o, --output <format>', 'output format').choices(formats).default('text'))
    .action(async (flags: DataDirectoryFlags & { readonly output: Format }) => {
      const { encryptionStatus } = await import('./rotate.ts');
      done(await encryptionStatus({ dataDirectory: await dataDirectoryOf(flags), format: flags.output, output }));
    });
  const waiting = async (flags: DataDirectoryFlags) => {
    const { systemClock } = await import('../base/clock.ts');
    return { dataDirectory: await dataDirectoryOf(flags), output, clock: systemClock, signal: new AbortController().signal };
  };
  withDataDirectory(
    encryption.command('rotate-keys').description('make a new key, encrypt all values with it, and remove the former one'),
  ).action(async (flags: DataDirectoryFlags) => {
    const { rotateEncryptionKeys } = await import('./rotate.ts');
    done(await rotateEncryptionKeys(await waiting(flags)));
  });
  withDataDirectory(encryption.command('reencrypt').description('encrypt all values with the active key')).action(
    async (flags: DataDirectoryFlags) => {
      const { reencrypt } = await import('./rotate.ts');
      done(await reencrypt(await waiting(flags)));
    },
  );
}
