import { createHmac } from 'node:crypto';
import type { Alert } from '../../api/notification/v1beta3/alert.ts';
import type { Provider } from '../../api/notification/v1beta3/provider.ts';
import { timestampOf } from '../../base/clock.ts';
import { compileCel } from '../../machinery/cel/cel.ts';
import { dynType } from '../../machinery/cel/types.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { Notice } from './notice.ts';

/** A request that tells a provider of a notice. */
export interface Message {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /**
   * Decides by a complete answer if the message was accepted; undefined leaves it to the code. The text gives the
   * reason.
   */
  readonly check?: (answer: string) => string | undefined;
  /** An answer that is no success, and means that nothing is to do. */
  readonly isDone?: (code: number, answer: string) => boolean;
}

/** Content of a provider's Secret. */
export interface Credentials {
  readonly address?: string | undefined;
  readonly token?: string | undefined;
  readonly username?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** A provider that cannot be sent to until someone changes it. */
export class ProviderProblem extends Error {
  override readonly name = 'ProviderProblem';
  readonly reason: 'NotSupported' | 'InvalidProvider';
  constructor(reason: 'NotSupported' | 'InvalidProvider', message: string) {
    super(message);
    this.reason = reason;
  }
}

export interface Letter {
  readonly provider: Provider;
  readonly credentials: Credentials;
  readonly alert: Alert;
  readonly subject: KubeObject;
  readonly notice: Notice;
  /** Changes of the commit, when they are known. */
  readonly details: string;
  readonly author: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

const supportedTypes = ['generic', 'generic-hmac', 'slack', 'github', 'gitlab', 'gitea'] as const;
type SupportedType = (typeof supportedTypes)[number];
const commitStatusTypes: readonly string[] = ['github', 'gitlab', 'gitea'];

/** A status on a commit has one pending; a message to people has none. */
export const setsCommitStatus = ({ spec }: Provider): boolean => commitStatusTypes.includes(spec.type);

const controllers: Readonly<Record<string, string>> = { Kustomization: 'kustomize-controller', GitRepository: 'source-controller' };
/** Only the beginning of a failure of a thousand files is sent. */
const maxMessageLength = 8_000;
const maxDescriptionLength = 140;
const maxContextLength = 255;

/** @throws ProviderProblem */
export function messageTo(letter: Letter): Message | undefined {
  const { provider } = letter;
  const type = supportedTypes.find((each) => each === provider.spec.type);
  if (type === undefined) throw new ProviderProblem('NotSupported', `not supported: spec.type ${provider.spec.type}`);
  if (provider.spec.serviceAccountName !== undefined && provider.spec.serviceAccountName !== '') {
    throw new ProviderProblem('NotSupported', 'not supported: spec.serviceAccountName');
  }
  return builders[type](letter);
}

const builders: Readonly<Record<SupportedType, (letter: Letter) => Message | undefined>> = {
  generic: genericMessage,
  'generic-hmac': signedMessage,
  slack: slackMessage,
  github: (letter) => commitStatus(letter, githubStatus),
  gitlab: (letter) => commitStatus(letter, gitlabStatus),
  gitea: (letter) => commitStatus(letter, giteaStatus),
};

function addressOf({ provider, credentials }: Letter): string {
  const address = credentials.address ?? provider.spec.address ?? '';
  if (!/^https?:\/\/[^/\s]+/.test(address))
    throw new ProviderProblem('InvalidProvider', 'spec.address (or address of the Secret) is no http:// or https:// address');
  return address;
}

function tokenOf({ credentials, provider }: Letter): string {
  if (credentials.token !== undefined && credentials.token !== '') return credentials.token;
  throw new ProviderProblem('InvalidProvider', `a provider of type ${provider.spec.type} needs a Secret with the key token`);
}

const cut = (text: string, length: number): string => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

/** Annotations of an app or repository that each of its events carries. @see Flux RFC 0008 */
const eventAnnotation = 'event.toolkit.fluxcd.io/';

/**
 * Fields of an event besides its message. The event's own keys win over those of the alert, and these over those of the
 * object.
 */
function metadataOf({ alert, subject, notice, author }: Letter): Readonly<Record<string, string>> {
  const annotated = Object.entries(subject.metadata.annotations ?? {}).filter(([name]) => name.startsWith(eventAnnotation));
  return {
    ...Object.fromEntries(annotated.map(([name, value]) => [name.slice(eventAnnotation.length), value])),
    ...alert.spec.eventMetadata,
    ...(alert.spec.summary === undefined || alert.spec.summary === '' ? {} : { summary: alert.spec.summary }),
    ...(author === '' ? {} : { author }),
    ...(notice.revision === '' ? {} : { revision: notice.revision }),
  };
}

/** Text of a notice for people; the filters of an alert match it. */
export function textOf({ notice, details }: Pick<Letter, 'notice' | 'details'>): string {
  return cut(details === '' ? notice.message : `${details}\n${notice.message}`, maxMessageLength);
}

/** Flux's Event, as its notification-controller forwards it. */
function eventOf(letter: Letter) {
  const { subject, notice, now } = letter;
  const { kind, apiVersion, metadata } = subject;
  return {
    involvedObject: {
      kind,
      namespace: metadata.namespace,
      name: metadata.name,
      uid: metadata.uid,
      apiVersion,
      resourceVersion: metadata.resourceVersion,
    },
    severity: notice.state === 'failure' ? 'error' : 'info',
    timestamp: timestampOf(now),
    message: textOf(letter),
    reason: notice.reason,
    metadata: metadataOf(letter),
    reportingController: controllers[kind] ?? 'midship',
    reportingInstance: 'midship',
  };
}

function genericMessage(letter: Letter): Message {
  return {
    url: addressOf(letter),
    headers: {
      ...letter.credentials.headers,
      'Content-Type': 'application/json',
      'Gotk-Component': controllers[letter.subject.kind] ?? 'midship',
    },
    body: JSON.stringify(eventOf(letter)),
  };
}

function signedMessage(letter: Letter): Message {
  const message = genericMessage(letter);
  const signature = createHmac('sha256', tokenOf(letter)).update(message.body).digest('hex');
  return { ...message, headers: { ...message.headers, 'X-Signature': `sha256=${signature}` } };
}

function slackMessage(letter: Letter): Message {
  const { provider, credentials, subject, notice } = letter;
  const { channel, username } = provider.spec;
  const { kind, metadata } = subject;
  const url = addressOf(letter);
  return {
    url,
    headers: {
      'Content-Type': 'application/json',
      ...(credentials.token === undefined ? {} : { Authorization: `Bearer ${credentials.token}` }),
    },
    body: JSON.stringify({
      channel: channel ?? '',
      username: credentials.username ?? username ?? controllers[kind] ?? 'midship',
      icon_url: '',
      icon_emoji: '',
      attachments: [
        {
          color: notice.state === 'failure' ? 'danger' : 'good',
          author_name: `${kind.toLowerCase()}/${metadata.name}.${metadata.namespace}`,
          text: textOf(letter),
          mrkdwn_in: ['text'],
          fields: Object.entries(metadataOf(letter)).map(([title, value]) => ({ title, value, short: false })),
        },
      ],
    }),
    // The API says 200 whatever happens; a webhook's address has codes.
    ...(url === 'https://slack.com/api/chat.postMessage' ? { check: slackRefusal } : {}),
  };
}

function slackRefusal(answer: string): string | undefined {
  try {
    const { ok, error } = JSON.parse(answer) as { readonly ok?: unknown; readonly error?: unknown };
    // The word is one of Slack's list; anything else is not repeated.
    return ok === true
      ? undefined
      : `Slack refused it: ${typeof error === 'string' && /^[a-z_]{1,60}$/.test(error) ? error : 'no reason given'}`;
  } catch {
    return 'Slack answered with something else than JSON';
  }
}

interface Status {
  readonly host: string;
  /** `owner/repository`; with GitLab any number of groups. */
  readonly repository: string;
  readonly sha: string;
  readonly token: string;
  readonly state: Notice['state'];
  readonly context: string;
  readonly description: string;
}

/** A status on the commit that the notice is about. A notice without a commit has none. */
function commitStatus(letter: Letter, build: (status: Status) => Message): Message | undefined {
  const { notice } = letter;
  const token = tokenOf(letter);
  const { host, repository } = parseRepository(
    addressOf({ ...letter, credentials: { ...letter.credentials, address: httpAddress(letter) } }),
  );
  const sha = /^[0-9a-f]{40}$|^[0-9a-f]{64}$/.exec(notice.revision.slice(notice.revision.lastIndexOf(':') + 1))?.[0];
  if (sha === undefined) return undefined;
  return build({
    host,
    repository,
    sha,
    token,
    state: notice.state,
    context: contextOf(letter),
    description: cut(words(notice.reason), maxDescriptionLength),
  });
}

/** The name of the status: by default one for each object and provider, so that clusters do not write over each other's. */
function contextOf(letter: Letter): string {
  const { provider, alert, subject } = letter;
  const { commitStatusExpr } = provider.spec;
  if (commitStatusExpr === undefined || commitStatusExpr === '') {
    return `${subject.kind.toLowerCase()}/${subject.metadata.name}/${(provider.metadata.uid ?? '').slice(0, 8)}`;
  }
  try {
    const program = compileCel(commitStatusExpr, { variables: { event: dynType, alert: dynType, provider: dynType }, result: 'string' });
    return cut(String(program.evaluate({ event: eventOf(letter), alert, provider })), maxContextLength);
  } catch (err) {
    throw new ProviderProblem('InvalidProvider', `spec.commitStatusExpr: ${err instanceof Error ? err.message : String(err)}`);
  }
}

/** `ssh://git@host/x` and `git@host:x` name the server whose API is asked over https. */
function httpAddress({ credentials, provider }: Letter): string {
  const address = credentials.address ?? provider.spec.address ?? '';
  const ssh = /^(?:ssh:\/\/)?(?:[^@/\s]+@)?([^/:\s]+)(?::\d+)?[:/](.+)$/.exec(address);
  return /^https?:/.test(address) || ssh === null ? address : `https://${ssh[1]}/${ssh[2]}`;
}

function parseRepository(address: string): { readonly host: string; readonly repository: string } {
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    throw new ProviderProblem('InvalidProvider', 'spec.address is no address of a repository');
  }
  const repository = url.pathname
    .replace(/^\/+/, '')
    .replace(/\/+$/, '')
    .replace(/\.git$/, '');
  // From here on it is part of a path: nothing that could lead elsewhere.
  if (!/^[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)+$/.test(repository) || repository.split('/').some((part) => /^\.+$/.test(part))) {
    throw new ProviderProblem('InvalidProvider', 'spec.address does not end in OWNER/REPOSITORY');
  }
  return { host: url.origin, repository };
}

/** `reconciliation succeeded` of `ReconciliationSucceeded` */
const words = (reason: string): string => reason.replace(/([a-z0-9])([A-Z])/g, '$1 $2').toLowerCase();

const json = { 'Content-Type': 'application/json', Accept: 'application/json' } as const;

function githubStatus({ host, repository, sha, token, state, context, description }: Status): Message {
  const api = host === 'https://github.com' ? 'https://api.github.com' : `${host}/api/v3`;
  return {
    url: `${api}/repos/${repository}/statuses/${sha}`,
    headers: { ...json, Authorization: `Bearer ${token}`, 'X-GitHub-Api-Version': '2022-11-28' },
    body: JSON.stringify({ state, context, description }),
  };
}

const gitlabStates: Readonly<Record<Notice['state'], string>> = { pending: 'pending', success: 'success', failure: 'failed' };

function gitlabStatus({ host, repository, sha, token, state, context, description }: Status): Message {
  return {
    url: `${host}/api/v4/projects/${encodeURIComponent(repository)}/statuses/${sha}`,
    headers: { ...json, 'PRIVATE-TOKEN': token },
    body: JSON.stringify({ state: gitlabStates[state], name: context, description }),
    // A status that is already set cannot be set again.
    isDone: (code, answer) => code === 400 && answer.includes('Cannot transition status'),
  };
}

function giteaStatus({ host, repository, sha, token, state, context, description }: Status): Message {
  return {
    url: `${host}/api/v1/repos/${repository}/statuses/${sha}`,
    headers: { ...json, Authorization: `token ${token}` },
    body: JSON.stringify({ state, context, description, target_url: '' }),
  };
}
