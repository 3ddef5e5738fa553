import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { dnsSubdomainErrors } from '../api/formats.ts';
import { Failure } from './failure.ts';

/** Flags of authentication and admission, with the names and meanings that kube-apiserver gives them. */
export interface AccessFlags {
  readonly enableAdmissionPlugins?: readonly AdmissionPlugin[];
  readonly tokenAuthFile?: string;
  readonly auditPolicyFile?: string;
  readonly encryptionProviderConfig?: string;
  readonly oidcIssuerUrl?: string;
  readonly oidcClientId?: string;
  readonly oidcUsernameClaim?: string;
  readonly oidcUsernamePrefix?: string;
  readonly oidcGroupsClaim?: string;
  readonly oidcGroupsPrefix?: string;
  readonly oidcRequiredClaim?: Readonly<Record<string, string>>;
  readonly oidcCaFile?: string;
  readonly oidcSigningAlgs?: readonly string[];
}

/** An OpenID Connect issuer whose ID tokens are taken. */
export interface OidcSettings {
  readonly issuerUrl: string;
  readonly clientId: string;
  readonly usernameClaim?: string | undefined;
  readonly usernamePrefix?: string | undefined;
  readonly groupsClaim?: string | undefined;
  readonly groupsPrefix?: string | undefined;
  readonly requiredClaims?: Readonly<Record<string, string>> | undefined;
  /** Absent: the authorities of the system. */
  readonly caFile?: string | undefined;
  readonly signingAlgorithms?: readonly string[] | undefined;
}

/** Steps of admission that are off unless they are named. */
const admissionPlugins = ['OwnerReferencesPermissionEnforcement'] as const;
export type AdmissionPlugin = (typeof admissionPlugins)[number];

const algorithms: readonly string[] = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'PS256', 'PS384', 'PS512'];
const maxCaBytes = 1024 * 1024;

export const withAccessFlags = (command: Command): Command =>
  command
    .addOption(
      new Option(
        '--enable-admission-plugins <list>',
        `steps of admission that are off by default: ${admissionPlugins.join(', ')}`,
      ).argParser(parsePlugins),
    )
    .addOption(new Option('--token-auth-file <file>', 'users of the API by bearer token: lines of token,user,uid,"group,group"'))
    .addOption(
      new Option('--audit-policy-file <file>', 'what logs/audit.log tells of requests (audit.k8s.io/v1 Policy); default: their outcome'),
    )
    .addOption(
      new Option(
        '--encryption-provider-config <file>',
        'encrypted resources of the store, and their keys (EncryptionConfiguration); default: Secrets, by aesgcm with the key in pki/',
      ),
    )
    .addOption(new Option('--oidc-issuer-url <url>', 'OpenID Connect issuer (https) whose ID tokens are taken').argParser(parseIssuer))
    .addOption(new Option('--oidc-client-id <id>', 'audience that ID tokens must be for'))
    .addOption(new Option('--oidc-username-claim <claim>', 'claim that names the user (default: sub)'))
    .addOption(new Option('--oidc-username-prefix <prefix>', "before user names; '-': none (default: the issuer and #, none for email)"))
    .addOption(new Option('--oidc-groups-claim <claim>', 'claim that lists the groups of the user'))
    .addOption(new Option('--oidc-groups-prefix <prefix>', 'before group names'))
    .addOption(new Option('--oidc-required-claim <key=value>', 'claim that must be there; may be repeated').argParser(parseClaim))
    .addOption(new Option('--oidc-ca-file <file>', 'authorities of the issuer (PEM); default: those of the system'))
    .addOption(new Option('--oidc-signing-algs <list>', 'signature algorithms that are taken (default: RS256)').argParser(parseAlgorithms));

/**
 * Reads one `--tls-san`: names and addresses, separated by commas as k3s takes them. Names of hosts are the same in both cases.
 *
 * @throws InvalidArgumentError for a text that no client would compare with a host
 */
export function parseCertificateNames(value: string, before: readonly string[] = []): readonly string[] {
  const names = value.split(',').map((name) => name.trim().toLowerCase());
  const odd = names.find((name) => isIP(name) === 0 && dnsSubdomainErrors(name).length > 0);
  if (odd !== undefined) throw new InvalidArgumentError(`${JSON.stringify(odd)} is no host name and no IP address.`);
  return [...new Set([...before, ...names])];
}

function parseIssuer(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url?.protocol !== 'https:' || url.username !== '' || url.search !== '' || url.hash !== '') {
    throw new InvalidArgumentError('An https address without user, query and fragment.');
  }
  return value;
}

function parseClaim(value: string, all: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const [, key = '', wanted = ''] = /^([^=]+)=(.*)$/.exec(value) ?? [];
  if (key === '') throw new InvalidArgumentError('A pair key=value.');
  return { ...all, [key]: wanted };
}

function parsePlugins(value: string): readonly AdmissionPlugin[] {
  return value.split(',').map((name) => {
    const known = admissionPlugins.find((plugin) => plugin === name.trim());
    if (known === undefined) throw new InvalidArgumentError(`${name} is none of ${admissionPlugins.join(', ')}; the other plugins are on.`);
    return known;
  });
}

function parseAlgorithms(value: string): readonly string[] {
  const named = value.split(',').map((name) => name.trim());
  const odd = named.find((name) => !algorithms.includes(name));
  if (odd !== undefined) throw new InvalidArgumentError(`${odd} is none of ${algorithms.join(', ')}.`);
  return named;
}

/** @throws Failure when one of the two flags that belong together is missing */
export function oidcSettingsOf(flags: AccessFlags): OidcSettings | undefined {
  const { oidcIssuerUrl: issuerUrl, oidcClientId: clientId } = flags;
  if (issuerUrl === undefined && !Object.keys(flags).some((name) => name.startsWith('oidc'))) return undefined;
  if (issuerUrl === undefined || clientId === undefined) {
    throw new Failure(`missing flag: ${issuerUrl === undefined ? '--oidc-issuer-url' : '--oidc-client-id'}`, {
      why: 'ID tokens are taken from one issuer and for one client; both have to be named.',
      fix: 'Give --oidc-issuer-url and --oidc-client-id, or none of the --oidc flags.',
    });
  }
  return {
    issuerUrl,
    clientId,
    usernameClaim: flags.oidcUsernameClaim,
    usernamePrefix: flags.oidcUsernamePrefix,
    groupsClaim: flags.oidcGroupsClaim,
    groupsPrefix: flags.oidcGroupsPrefix,
    requiredClaims: flags.oidcRequiredClaim,
    caFile: flags.oidcCaFile === undefined ? undefined : resolve(flags.oidcCaFile),
    signingAlgorithms: flags.oidcSigningAlgs,
  };
}

/** PEM of the file; undefined when none is named. @throws Failure when it has no certificate */
export async function readAuthorities(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    const text = await readFile(path, 'utf8');
    if (text.length > maxCaBytes) throw new Error(`it is larger than ${maxCaBytes} bytes`);
    const { X509Certificate } = await import('node:crypto');
    new X509Certificate(text);
    return text;
  } catch (cause) {
    throw new Failure(`${path} is no file of certificates`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Name a PEM file with --oidc-ca-file, or leave the flag out.',
      cause,
    });
  }
}
