import { createHash } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { readBoundedFile } from '../base/bounded-file.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import { Failure } from './failure.ts';

export interface CertificateFiles {
  readonly certificateFile: string;
  readonly keyFile: string;
}

interface Pair {
  readonly certificate: string;
  readonly key: string;
}

/** A key pair in files of somebody else, who replaces them in time. */
export interface FollowedCertificate extends Component, Pair {
  onRenewed(apply: () => void): void;
}

const maxFileBytes = 1024 * 1024;
/** Time between two looks at the files. */
const periodMs = 60_000;

/**
 * Reads the files, and again every minute while it is started. Files that do not fit together, as between two writes, are left for the
 * next look.
 *
 * @throws Failure when they cannot be used now
 */
export async function followCertificate(
  files: CertificateFiles,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Promise<FollowedCertificate> {
  let pair = await readPair(files);
  let problem = '';
  let cancel: () => void = () => undefined;
  const users: (() => void)[] = [];
  const look = async (): Promise<void> => {
    try {
      const found = await readPair(files);
      problem = '';
      if (digestOf(found) === digestOf(pair)) return;
      pair = found;
      for (const apply of users) apply();
      log.info({ file: files.certificateFile }, 'Took new certificate');
    } catch (err) {
      // Said once; the former certificate is used until it can be read.
      const text = err instanceof Error ? err.message : String(err);
      if (text !== problem) log.warn({ err }, 'Could not read certificate');
      problem = text;
    }
  };
  const schedule = (): void => {
    cancel = clock.after(periodMs, () => void look().then(schedule));
  };
  return {
    name: 'http-certificate',
    get certificate() {
      return pair.certificate;
    },
    get key() {
      return pair.key;
    },
    onRenewed: (apply) => void users.push(apply),
    start: async () => schedule(),
    stop: async () => cancel(),
  };
}

const digestOf = ({ certificate, key }: Pair): string => createHash('sha256').update(certificate).update(key).digest('hex');

async function readPair({ certificateFile, keyFile }: CertificateFiles): Promise<Pair> {
  try {
    const [certificate, key] = await Promise.all([certificateFile, keyFile].map(readPem));
    // Throws when they are no PEM, or the key is that of another certificate.
    createSecureContext({ cert: certificate, key });
    return { certificate: certificate ?? '', key: key ?? '' };
  } catch (cause) {
    throw new Failure(`${certificateFile} and ${keyFile} are no certificate with its key`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Name PEM files with --http-tls-cert-file and --http-tls-private-key-file; the key without a password.',
      cause,
    });
  }
}

// Tools that renew certificates leave links to the newest one.
const readPem = async (path: string): Promise<string> => (await readBoundedFile(await realpath(path), maxFileBytes)).toString('utf8');
