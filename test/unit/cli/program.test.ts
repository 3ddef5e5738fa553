import { spawnSync } from 'node:child_process';
import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { Failure } from '../../../src/cli/failure.ts';
import { createCommands, createProgram } from '../../../src/cli/program.ts';
import { settingsOf } from '../../../src/cli/settings.ts';

async function run(argv: readonly string[], environment: NodeJS.ProcessEnv = {}) {
  const chunks: string[] = [];
  const stdout = new Writable({
    write(chunk, _, done) {
      chunks.push(String(chunk));
      done();
    },
  }) as NodeJS.WriteStream;
  const result = await createProgram({ environment, stdout, stderr: stdout, version: '1.2.3' })
    .run(argv)
    .catch((err: unknown) => err);
  return { result, text: chunks.join('') };
}

it('makes the commands of the group that is asked alone, and all for help', () => {
  const stdout = new Writable() as NodeJS.WriteStream;
  const commandsFor = (...argv: readonly string[]) =>
    createCommands({ environment: {}, stdout, stderr: stdout, version: '1.2.3' }, argv, () => undefined).commands;
  const all = commandsFor('--help');
  // The script of completions lists all commands.
  for (const name of all.flatMap((command) => [command.name(), ...command.aliases()]).filter((each) => each !== 'completion')) {
    const made = commandsFor('-v', name, '--help');
    expect(made.flatMap((command) => [command.name(), ...command.aliases()])).toContain(name);
    expect(made.length, name).toBeLessThan(all.length / 2);
  }
  expect(commandsFor('--version').map((command) => command.name())).toEqual(['completion']);
});

it('shows its help when it is asked nothing', async () => {
  const { result, text } = await run([]);
  expect(result).toBe(0);
  expect(text).toMatch(/^Usage: midship .*\n[\s\S]*midship status/);
});

it.each([
  [['statsu'], "unknown command 'statsu'", '(Did you mean status?)'],
  [['get', 'nodes'], /'nodes' is invalid.*apps, sources/, undefined],
  [['get', 'apps', '-o', 'jsonpath'], /'jsonpath' is invalid.*text, json, yaml, wide, name/, undefined],
  [['tree', 'web', '-o', 'wide'], /'wide' is invalid.*text, json, yaml\./, undefined],
  [['get', 'apps', '-n', 'Team A'], /'Team A' is invalid\. The name of a namespace/, undefined],
  [['gitops', '--kubeconfig', 'x', '--leader-elect', 'maybe'], /'maybe' is invalid.*true, false/, undefined],
  [['wait'], "missing required argument 'app'", undefined],
  // An unset variable of a script must not mean the working directory, which --purge would delete.
  [['down', '--purge', '--yes', '--data-dir', ''], /--data-dir <dir>' argument '' is invalid\. It is empty/, undefined],
  [['up', '--data-dir='], /--data-dir <dir>' argument '' is invalid/, undefined],
  [['up', '--repo', ''], /--repo <url-or-dir>' argument '' is invalid/, undefined],
  [
    ['up', '--repo', '.', '--path', 'apps/../../..'],
    /--path <dir>' argument 'apps\/\.\.\/\.\.\/\.\.' is invalid\. A directory from the root/,
    undefined,
  ],
  [
    ['up', '--tls-san', 'home.lan,*'],
    /--tls-san <name>' argument 'home\.lan,\*' is invalid\. "\*" is no host name and no IP address/,
    undefined,
  ],
  [['server', '--tls-san', 'bad name'], /"bad name" is no host name/, undefined],
  [['up', '--tls-san', ''], /"" is no host name/, undefined],
  [['up', '--api-port', ''], /A port is a number/, undefined],
  [['up', '--http-port', '0x50'], /A port is a number/, undefined],
  [
    ['up', '--disable', 'gitops,page'],
    /There is no part "page"; known: gitops, ingress, servicelb, local-storage, metrics-server, controllers, scheduler, node\./,
    undefined,
  ],
  [['server', '--load-balancer-pool', '192.0.2.9-192.0.2.1'], /192\.0\.2\.9-192\.0\.2\.1 ends before it begins/, undefined],
  [['server', '--load-balancer-pool', '10.0.0.0/8'], /65536 are the most/, undefined],
  [['server', '--cloud-provider-url', 'http://cloud.example'], /http:\/\/ is for this machine alone/, undefined],
  [
    ['server', '--node-ip', '192.0.2.1', '--load-balancer-pool', '10.43.0.9'],
    '--load-balancer-pool 10.43.0.9 has addresses of Services',
    undefined,
  ],
  [
    ['server', '--node-ip', '192.0.2.1', '--load-balancer-pool', '192.0.2.9', '--cloud-provider-url', 'https://cloud.example'],
    '--load-balancer-pool and --cloud-provider-url exclude each other',
    undefined,
  ],
  [['certs'], "missing command after 'certs'", expect.stringMatching(/^Known: .*rotate/)],
  [['help', 'stauts'], "unknown command 'stauts'", undefined],
  [['backup', '/proc/none/x.tar'], 'there is no directory /proc/none', undefined],
  [['support-bundle', '/proc/none/x.tar'], 'there is no directory /proc/none', undefined],
  [['repair', 'get'], "missing required argument 'object'", undefined],
  [['wait', 'web', '--timeout', '5'], /A duration, for example/, undefined],
  // A timer of Node that is longer would be over at once.
  [['wait', 'web', '--timeout', '600h'], /At most 24h/, undefined],
  [['suspend', 'web', '--for', '0s'], /A duration from 1s/, undefined],
  [['diff', 'a', 'b', 'c', 'd'], 'At most APP REV1 REV2.', undefined],
] as const)('says what is wrong with %j', async (argv, message, why) => {
  const { result } = await run(argv);
  expect(result).toBeInstanceOf(Failure);
  expect(result).toMatchObject({
    exitCode: 2,
    message: typeof message === 'string' ? message : expect.stringMatching(message),
    ...(why === undefined ? {} : { why }),
  });
});

it('takes an empty port in the environment for none', async () => {
  expect((await run(['up', '--help'], { MIDSHIP_API_PORT: '', MIDSHIP_HTTP_PORT: '' })).result).toBe(0);
});

it('takes an empty KUBECONFIG for none', async () => {
  const { result } = await run(['gitops'], { KUBECONFIG: '' });
  expect(result).toMatchObject({ exitCode: 2, message: expect.stringContaining("'--kubeconfig <file>' not specified") });
});

it.each([
  ['ftp://example.com/site.git', /ftp addresses are not followed/, /https:\/\/, or a directory/],
  ['file:///srv/site', /is not followed/, /--repo \/srv\/site$/],
  ['git@example.com:me/site.git', /is not a directory/, /--repo ssh:\/\/git@example\.com\/me\/site\.git$/],
  ['https://', /is not an address/, /https:\/\/HOST/],
])('refuses --repo %s before anything starts', async (repo, message, fix) => {
  const { result } = await run(['up', '--repo', repo, '--data-dir', '/proc/none']);
  expect(result).toMatchObject({ exitCode: 2, message: expect.stringMatching(message), fix: expect.stringMatching(fix) });
});

it('completes commands, sub-commands and flags in bash', async () => {
  const { text } = await run(['completion', 'bash']);
  const complete = (...words: readonly string[]): readonly string[] =>
    spawnSync(
      'bash',
      ['-c', `${text}\nCOMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _midship; printf '%s\\n' "\${COMPREPLY[@]}"`, 'bash', 'midship', ...words],
      { encoding: 'utf8' },
    ).stdout.split('\n');
  expect(complete('sta')).toEqual(['status', '']);
  expect(complete('repair', 'sal')).toEqual(['salvage', '']);
  expect(complete('get', 'app')).toEqual(['apps', 'app', '']);
  expect(complete('status', '--exit')).toEqual(['--exit-code', '']);
  expect(complete('up', '--detac')).toEqual(['--detach', '']);
});

it.each(['zsh', 'fish'])('completes in %s', async (shell) => {
  const { text } = await run(['completion', shell]);
  expect(text).toMatch(/midship/);
  expect(text).toMatch(/exit-code/);
});

it('gives its version for people and for programs, and says nothing with -q', async () => {
  expect(await run(['version', '--client'])).toEqual({ result: 0, text: 'Client Version: v1.2.3\n' });
  expect(JSON.parse((await run(['version', '--client', '-o', 'json'])).text)).toMatchObject({ clientVersion: { gitVersion: 'v1.2.3' } });
  expect(await run(['version', '--data-dir', '/proc/none'])).toEqual({
    result: 1,
    text: 'Client Version: v1.2.3\nServer Version: no cluster runs here\n',
  });
  expect(await run(['version', '--client', '-q'])).toEqual({ result: 0, text: '' });
});

it('shows the usual flags of up first, in groups, and examples', async () => {
  const { text } = await run(['up', '--help']);
  expect(text).toMatch(
    /Repository:[\s\S]*--repo[\s\S]*Start:[\s\S]*--detach[\s\S]*Network:[\s\S]*Access to the API:[\s\S]*--oidc-issuer-url[\s\S]*Examples:/,
  );
});

it.each([
  [['statsu'], 'See: midship --help'],
  [['revert'], 'See: midship revert --help'],
  [['repair', 'get'], 'See: midship repair get --help'],
  [['wait', 'web', '--timeout', '5'], 'See: midship wait --help'],
] as const)('names the help that is about %j', async (argv, fix) => {
  expect((await run(argv)).result).toMatchObject({ fix });
});

it('names the two dashes of npm only to somebody who used npm', async () => {
  const { result: plain } = await run(['status', 'web', 'more']);
  expect((plain as Failure).why).toBe('The command line was not understood; nothing was done.');
  const { result: npm } = await run(['demo', '8080'], { npm_lifecycle_event: 'start' });
  expect((npm as Failure).why).toMatch(/takes flags alone.*npm start -- --http-port 8080$/);
});

it('shows where each value of the configuration comes from, and no password', () => {
  const stdout = new Writable({ write: (_chunk, _encoding, done) => done() }) as NodeJS.WriteStream;
  const environment = { MIDSHIP_API_PORT: '7001', MIDSHIP_HTTP_PORT: '7002', MIDSHIP_GIT_TOKEN: 'hidden' };
  const program = createCommands({ environment, stdout, stderr: stdout, version: '1.2.3' }, [], () => undefined);
  const up = program.commands.find((command) => command.name() === 'up');
  if (up === undefined) throw new Error('there is no up');
  up.parseOptions([
    '--repo',
    'https://me:hidden@example.com/a.git',
    '--http-port',
    '8080',
    '--tls-san',
    'Home.lan, ::1',
    '--tls-san',
    'home.lan,b',
  ]);
  const settings = settingsOf(up, environment);
  expect(settings.filter(({ name }) => ['--repo', '--api-port', '--http-port', '--runtime', '--tls-san'].includes(name))).toEqual([
    { name: '--repo', value: 'https://example.com/a.git', from: 'flag' },
    { name: '--api-port', value: '7001', from: 'environment' },
    { name: '--http-port', value: '8080', from: 'flag' },
    { name: '--tls-san', value: 'home.lan, ::1, b', from: 'flag' },
    { name: '--runtime', value: 'process', from: 'default' },
  ]);
  expect(JSON.stringify(settings)).not.toContain('hidden');

  const server = program.commands.find((command) => command.name() === 'server');
  if (server === undefined) throw new Error('there is no server');
  const ofNode = () => settingsOf(server, environment).filter(({ name }) => /^--(?:node-label|node-taint|kubelet-arg)$/.test(name));
  expect(ofNode().map(({ value }) => value)).toEqual(['none', 'none', "a kubelet's defaults"]);
  const given = ['node-label=a=b', 'node-label=c=', 'node-taint=only=web:NoExecute', 'node-taint=x:NoSchedule'];
  const limits = ['eviction-hard=nodefs.available<5%,pid.available<9', 'eviction-soft=memory.available<1Gi'];
  server.parseOptions([...given, ...limits.map((limit) => `kubelet-arg=${limit}`)].map((flag) => `--${flag}`));
  expect(ofNode().map(({ value }) => value)).toEqual(['a=b, c=', 'only=web:NoExecute, x:NoSchedule', limits.join(', ')]);

  server.parseOptions(['--token=abcdef.0123456789abcdef']);
  const token = settingsOf(server, environment).find(({ name }) => name === '--token');
  expect(token).toEqual({ name: '--token', value: '(not shown)', from: 'flag' });
});

it('shows the configuration of a start without flags where no cluster was started', async () => {
  const { result, text } = await run(['config', '--data-dir', '/proc/none', '-o', 'json'], { MIDSHIP_LOG_LEVEL: 'debug' });
  expect(result).toBe(0);
  expect(JSON.parse(text)).toMatchObject({
    of: 'next start',
    settings: expect.arrayContaining([
      { name: '--api-port', value: '6443', from: 'default' },
      { name: 'MIDSHIP_LOG_LEVEL', value: 'debug', from: 'environment' },
    ]),
  });
});
