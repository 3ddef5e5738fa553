import { readFile } from 'node:fs/promises';
import { type AuditPolicy, parseAuditPolicy } from '../../apiserver/audit/policy.ts';
import type { OidcOptions } from '../../apiserver/authentication/oidc.ts';
import { ensureEncryptionConfiguration, parseEncryptionConfiguration } from '../../apiserver/encryption/configuration.ts';
import type { EncryptedStorageOptions } from '../../apiserver/encryption/encrypted-storage.ts';
import { parseSchedulerConfiguration, type SchedulerConfiguration } from '../../scheduler/configuration/configuration.ts';
import { readExtenderFiles } from '../../scheduler/configuration/extenders.ts';
import { SchedulerConfigurationError } from '../../scheduler/configuration/fields.ts';
import { readAuthorities } from '../access-flags.ts';
import { type Configuration, filesOf } from '../configuration.ts';
import { Failure } from '../failure.ts';
import { readTokenFile } from '../token-file.ts';

/** The content of the files that the command line names. */
export interface ControlPlaneInputs {
  /** Static bearer tokens. */
  readonly tokens: Awaited<ReturnType<typeof readTokenFile>>;
  readonly auditPolicy: AuditPolicy | undefined;
  readonly scheduler: SchedulerConfiguration | undefined;
  readonly oidc: Omit<OidcOptions, 'clock' | 'log'> | undefined;
}

/** Reads them before anything starts. @throws Failure when one is missing or wrong */
export async function readInputs({ tokenFile, auditPolicyFile, schedulerFile, oidc }: Configuration): Promise<ControlPlaneInputs> {
  return {
    tokens: tokenFile === undefined ? {} : await readTokenFile(tokenFile),
    auditPolicy: auditPolicyFile === undefined ? undefined : await readAuditPolicy(auditPolicyFile),
    scheduler: schedulerFile === undefined ? undefined : await readSchedulerConfiguration(schedulerFile),
    oidc: oidc === undefined ? undefined : { ...oidc, caCertificate: await readAuthorities(oidc.caFile) },
  };
}

async function readAuditPolicy(path: string): Promise<AuditPolicy> {
  try {
    return parseAuditPolicy(await readFile(path, 'utf8'));
  } catch (cause) {
    throw new Failure(`${path} is no audit policy`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Name a Policy of audit.k8s.io/v1 with --audit-policy-file, or leave the flag out.',
      cause,
    });
  }
}

/** @throws Failure when the file cannot be read, or a field of it is wrong */
/** @throws Failure when the file cannot be read, or is wrong */
export async function readSchedulerConfiguration(path: string): Promise<SchedulerConfiguration> {
  try {
    const parsed = parseSchedulerConfiguration(await readFile(path, 'utf8'), path);
    return { ...parsed, extenders: await readExtenderFiles(parsed.extenders) };
  } catch (cause) {
    throw new Failure(`${path} is no configuration of the scheduler`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: cause instanceof SchedulerConfigurationError ? cause.fix : 'Name a file that can be read with --scheduler-config.',
      cause,
    });
  }
}

/** The encryption of the store. A key that was made just now means that the present rows are not encrypted yet. */
export async function openEncryption(
  { dataDirectory, encryptionFile }: Configuration,
  hasData: boolean,
): Promise<Pick<EncryptedStorageOptions, 'configuration' | 'purge'>> {
  const path = encryptionFile ?? filesOf(dataDirectory).encryption;
  try {
    if (encryptionFile !== undefined) return { configuration: parseEncryptionConfiguration(await readFile(path, 'utf8')) };
    const { configuration, isNew } = await ensureEncryptionConfiguration(path);
    return { configuration, purge: isNew && hasData };
  } catch (cause) {
    throw new Failure(`${path} does not say how to encrypt the store`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Name an EncryptionConfiguration of apiserver.config.k8s.io/v1, or put back the file of a backup. Secrets are lost without their key.',
      cause,
    });
  }
}
