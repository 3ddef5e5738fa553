import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { shellWord } from '../../base/shell-word.ts';
import { durableSettings, frugalSettings, gitConfig, isolatedEnvironment, runGit } from './git-command.ts';
import { SourceError } from './git-source.ts';
import type { RemoteAccess } from './remote-access.ts';
import type { FetchRequest } from './remote-source.ts';
import { type ServerRef, timedOut, unreachable } from './server-refs.ts';

/**
 * The system's git, for all that comes in packs, and for ssh. It works in a process of its own and streams large objects.
 * The library would hold a pack and each of its objects in the memory of this process. Every method throws SourceErrors
 * alone.
 */
export interface SystemGit {
  listRefs(url: string, prefix: string, signal: AbortSignal): Promise<readonly ServerRef[]>;
  fetch(request: FetchRequest & { readonly url: string }, signal: AbortSignal): Promise<void>;
  /** Makes the branches and tags of `gitdir` those of the repository at `url`, all or none of them. */
  mirror(request: { readonly gitdir: string; readonly url: string }, signal: AbortSignal): Promise<void>;
}

export interface SystemGitOptions {
  readonly access: RemoteAccess;
  /** The repository that `access` belongs to: other hosts (of submodules) are asked without credentials. */
  readonly url: string;
  /** Keys and certificates lie below it, in a directory of their own, while a command runs. */
  readonly temporaryDirectory: string;
}

/** Bytes that a fetch may add to the disk. They are checked while it runs, because the server decides what it sends. */
const maxPackBytes = 1024 * 1024 * 1024;
const sizeCheckMs = 500;
const fetchOptions = ['--no-write-fetch-head', '--no-recurse-submodules', '--no-auto-maintenance', '--quiet'];

export function createSystemGit({ access, url: ownUrl, temporaryDirectory }: SystemGitOptions): SystemGit {
  return {
    async listRefs(url, prefix, signal) {
      const output = await run(['ls-remote', '--', url, prefix.endsWith('/') ? `${prefix}*` : prefix, `${prefix}^{}`], url, signal);
      return parseRefs(output).filter(({ name }) => name.startsWith(prefix));
    },
    async fetch({ gitdir, url, ref, depth }, signal) {
      await run(['fetch', ...fetchOptions, '--no-tags', `--depth=${depth}`, '--', url, ref], url, signal, gitdir);
    },
    async mirror({ gitdir, url }, signal) {
      const refs = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*'];
      await run(['fetch', ...fetchOptions, '--atomic', '--prune', '--', url, ...refs], url, signal, gitdir);
    },
  };

  async function run(args: readonly string[], url: string, signal: AbortSignal, gitdir?: string): Promise<string> {
    const directory = await mkdtemp(join(temporaryDirectory, 'access-'));
    const abort = new AbortController();
    const stopWatching = gitdir === undefined ? undefined : watchSize(gitdir, abort);
    try {
      const env = {
        ...isolatedEnvironment,
        ...(await environmentFor(url, directory)),
        ...(gitdir === undefined ? {} : { GIT_DIR: gitdir }),
      };
      return await runGit({ args, env, isolated: true, cwd: directory, signal: AbortSignal.any([signal, abort.signal]) });
    } catch (err) {
      throw explain(abort.signal.aborted ? abort.signal.reason : err, { url, signal, gitdir });
    } finally {
      stopWatching?.();
      await rm(directory, { recursive: true, force: true });
    }
  }

  async function environmentFor(url: string, directory: string): Promise<Record<string, string>> {
    const file = async (name: string, content: string): Promise<string> => {
      const path = join(directory, name);
      await writeFile(path, content.endsWith('\n') ? content : `${content}\n`, { mode: 0o600, flag: 'wx' });
      return path;
    };
    const settings: Record<string, string> = {
      'safe.directory': '*',
      'fetch.fsckObjects': 'true',
      'core.hooksPath': '/dev/null',
      'credential.helper': '',
      'protocol.version': '2',
      ...frugalSettings,
      ...durableSettings,
    };
    const env: Record<string, string> = { GIT_ALLOW_PROTOCOL: 'http:https:ssh', GIT_ASKPASS: '/bin/false', SSH_ASKPASS: '/bin/false' };
    const { ssh, ca, clientCertificate, proxy } = access;
    const isOwnHost = hostOf(url) === hostOf(ownUrl);
    if (url.startsWith('ssh:')) {
      const own = isOwnHost ? ssh : undefined;
      env.GIT_SSH_COMMAND = sshCommand({
        identity: own === undefined ? '/dev/null' : await file('identity', own.identity),
        knownHosts: ssh === undefined ? '/dev/null' : await file('known_hosts', ssh.knownHosts),
      });
      env.GIT_SSH_VARIANT = 'ssh';
    } else {
      if (ca !== undefined) settings['http.sslCAInfo'] = await file('ca.crt', ca);
      if (proxy !== undefined) {
        settings['http.proxy'] = proxyUrl(proxy);
        // Sent at once, as by our own client, and not only when asked for.
        settings['http.proxyAuthMethod'] = 'basic';
      }
      if (isOwnHost) {
        const authorization = authorizationOf(access);
        if (authorization !== undefined) settings['http.extraHeader'] = `Authorization: ${authorization}`;
        if (clientCertificate !== undefined) {
          settings['http.sslCert'] = await file('tls.crt', clientCertificate.certificate);
          settings['http.sslKey'] = await file('tls.key', clientCertificate.key);
        }
      }
      // A header that was made for one host must not go to another.
      settings['http.followRedirects'] = 'false';
    }
    return { ...env, ...gitConfig(settings) };
  }
}

/**
 * git passes this command to a shell, so nothing of it comes from outside: both paths are ours, and quoted anyway. The
 * host has to be in the given file, ssh asks nothing, and neither a user's agent nor the machine's configuration
 * counts.
 */
export function sshCommand({ identity, knownHosts }: { readonly identity: string; readonly knownHosts: string }): string {
  // ssh takes the value of these two options apart at blanks, and reads % signs as its own.
  const path = (text: string): string => `"${text.replaceAll('%', '%%')}"`;
  const options = {
    IdentityFile: path(identity),
    IdentitiesOnly: 'yes',
    IdentityAgent: 'none',
    UserKnownHostsFile: path(knownHosts),
    GlobalKnownHostsFile: '/dev/null',
    StrictHostKeyChecking: 'yes',
    UpdateHostKeys: 'no',
    BatchMode: 'yes',
    PasswordAuthentication: 'no',
    KbdInteractiveAuthentication: 'no',
    ControlMaster: 'no',
    ControlPath: 'none',
    ForwardAgent: 'no',
    ClearAllForwardings: 'yes',
    PermitLocalCommand: 'no',
    ConnectTimeout: '30',
    ServerAliveInterval: '15',
    ServerAliveCountMax: '3',
  };
  return ['ssh', '-F', '/dev/null', ...Object.entries(options).flatMap(([name, value]) => ['-o', shellWord(`${name}=${value}`)])].join(' ');
}

function parseRefs(output: string): readonly ServerRef[] {
  const refs = new Map<string, string>();
  for (const line of output.split('\n')) {
    const [oid = '', name = ''] = line.split('\t');
    if (!/^[0-9a-f]{40}$/.test(oid)) continue;
    // The commit of an annotated tag comes after the tag, under the same name.
    refs.set(name.replace(/\^\{\}$/, ''), oid);
  }
  return [...refs].map(([name, oid]) => ({ name, oid }));
}

function hostOf(url: string): string {
  const { protocol, host } = new URL(url);
  return `${protocol}//${host}`;
}

function authorizationOf({ username, password = '', bearerToken }: RemoteAccess): string | undefined {
  if (bearerToken !== undefined) return `Bearer ${bearerToken}`;
  return username === undefined ? undefined : `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function proxyUrl({ address, username, password = '' }: NonNullable<RemoteAccess['proxy']>): string {
  const url = new URL(address);
  if (username !== undefined) {
    url.username = encodeURIComponent(username);
    url.password = encodeURIComponent(password);
  }
  return url.href;
}

function watchSize(gitdir: string, abort: AbortController): () => void {
  const packs = join(gitdir, 'objects', 'pack');
  let before: number | undefined;
  const check = async (): Promise<void> => {
    const names = await readdir(packs).catch(() => []);
    const sizes = await Promise.all(
      names.map((name) =>
        stat(join(packs, name)).then(
          ({ size }) => size,
          () => 0,
        ),
      ),
    );
    const total = sizes.reduce((sum, size) => sum + size, 0);
    before ??= total;
    if (total - before > maxPackBytes) abort.abort(new Error(`the answer is larger than ${maxPackBytes} bytes`));
  };
  const timer = setInterval(() => void check(), sizeCheckMs);
  void check();
  return () => clearInterval(timer);
}

interface Failed {
  readonly url: string;
  readonly signal: AbortSignal;
  readonly gitdir: string | undefined;
}

function explain(err: unknown, { url, signal, gitdir }: Failed): SourceError {
  if (signal.aborted) return timedOut(url, err);
  const message = err instanceof Error ? err.message : String(err);
  // git names a file of ours when it is what it cannot read, unless the disk refuses.
  if (gitdir !== undefined && message.includes(gitdir) && !/No space left|Permission denied|Read-only/.test(message)) {
    return new SourceError('CorruptObject', `the copy of ${url} is damaged: ${lastLineOf(message)}`, {
      hint: 'It is fetched again.',
      cause: err,
    });
  }
  if (/Host key verification failed/.test(message)) {
    return new SourceError('AuthenticationFailed', `${url} has a host key that known_hosts of the Secret does not list`, {
      hint: 'Run "ssh-keyscan HOST", compare the key with the one that its owner publishes, and put it into the key known_hosts of the Secret.',
      cause: err,
    });
  }
  if (/Permission denied|Authentication failed|could not read Username|error: 40[13]|error in libcrypto|invalid format/.test(message)) {
    return new SourceError('AuthenticationFailed', `${url} refused the credentials`, {
      hint: 'Give spec.secretRef a key (identity, without a passphrase) or a token that may read the repository.',
      cause: err,
    });
  }
  if (/not found|does not (appear to be|exist)|error: 404/i.test(message) && !/Could not resolve/i.test(message)) {
    return new SourceError('NotARepository', `${url} is not a Git repository, or may not be read`, {
      hint: 'Check the address.',
      cause: err,
    });
  }
  if (/over limit \d+|out of memory/i.test(message)) {
    return new SourceError('TooLarge', `${url} sends something that takes more memory than a fetch may`, {
      hint: 'Keep files of hundreds of megabytes out of the repository.',
      cause: err,
    });
  }
  if (/fsck error|error in object/i.test(message)) {
    return new SourceError(
      'CorruptObject',
      `${url} has an object that git refuses: ${/(?:error in object|object) [^\n]*/.exec(message)?.[0]}`,
      {
        hint: 'Run "git fsck" in the repository, and fix the objects that it names.',
        cause: err,
      },
    );
  }
  return unreachable(url, new Error(lastLineOf(message), { cause: err }));
}

/** git says much, progress included; the line that names the cause is the first of its own, or that of ssh when git adds none. */
const lastLineOf = (message: string): string =>
  /((?:ssh|kex_exchange_identification): [^\r\n]*|Connection (?:closed|reset)[^\r\n]*)\s*fatal: Could not read from remote/.exec(
    message,
  )?.[1] ??
  message
    .split(/[\r\n]+/)
    .find((line) => /fatal:|error:/.test(line))
    ?.replace(/^.*?(fatal|error): /, '') ??
  message.split('\n').at(-1) ??
  message;
