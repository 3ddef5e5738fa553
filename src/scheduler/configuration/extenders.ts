import { readFile } from 'node:fs/promises';
import { isDuration, parseDuration } from '../../api/flux.ts';
import type { ExtenderConfiguration, ExtenderTls, PemSource } from '../extenders/extender.ts';
import { type Field, SchedulerConfigurationError } from './fields.ts';

const maxExtenders = 16;
const defaultTimeoutMs = 5_000;
/** No pod is tried while an extender is asked about another one, so it may not take forever. */
const maxTimeoutMs = 60_000;
const maxPemBytes = 1024 * 1024;

export interface ReadExtenders {
  readonly extenders: readonly ExtenderConfiguration[];
  /** Managed resources that NodeResourcesFit does not look at. */
  readonly ignoredResources: readonly string[];
}

/**
 * Reads `extenders`, by upstream's names and rules.
 *
 * @throws SchedulerConfigurationError with the place and a fix
 * @see Kubernetes reference, "kube-scheduler Configuration (v1)", "Extender"
 */
export function readExtenders(list: Field): ReadExtenders {
  const listed = list.list();
  if (listed.length > maxExtenders) list.fail(`has more than ${maxExtenders} items`, 'Join extenders that run in one program.');
  const extenders: ExtenderConfiguration[] = [];
  const ignoredResources: string[] = [];
  const managed = new Set<string>();
  for (const one of listed) {
    const fields = one.object(extenderFields);
    const resources = fields.managedResources.list().map((entry) => {
      const { name, ignoredByScheduler } = entry.object(['name', 'ignoredByScheduler']);
      const text = name.text();
      if (!/^[^/\s]+\/[^/\s]+$/.test(text) || text.includes('kubernetes.io/')) {
        name.fail(`${text} is no extended resource`, 'Name one with a domain of its own, as example.com/gpu.');
      }
      if (managed.has(text)) name.fail(`${text} is managed by another extender`, 'Leave it to one of them.');
      managed.add(text);
      if (ignoredByScheduler.flag(false)) ignoredResources.push(text);
      return text;
    });
    extenders.push(readExtender(one, fields, resources));
  }
  if (extenders.filter(({ bindVerb }) => bindVerb !== undefined).length > 1) {
    list.fail('has two extenders with a bindVerb', 'Let one of them bind pods: a pod is bound once.');
  }
  return { extenders, ignoredResources };
}

const extenderFields = [
  'urlPrefix',
  'filterVerb',
  'preemptVerb',
  'prioritizeVerb',
  'weight',
  'bindVerb',
  'enableHTTPS',
  'tlsConfig',
  'httpTimeout',
  'nodeCacheCapable',
  'managedResources',
  'ignorable',
] as const;

type ExtenderFields = Readonly<Record<(typeof extenderFields)[number], Field>>;

function readExtender(one: Field, fields: ExtenderFields, managedResources: readonly string[]): ExtenderConfiguration {
  const verb = (field: Field) => {
    if (field.isAbsent || field.value === '') return undefined;
    const text = field.text();
    // It becomes a part of the URL, and nothing else.
    if (!/^[\w.~-]+(\/[\w.~-]+)*$/.test(text) || text.split('/').includes('..')) field.fail('is no path', 'Give a word, as filter.');
    return text;
  };
  const url = readUrl(fields.urlPrefix);
  const prioritizeVerb = verb(fields.prioritizeVerb);
  const weight = fields.weight.integer({ least: 0, most: 1_000_000, otherwise: 0 });
  if (prioritizeVerb !== undefined && weight === 0) one.fail('has a prioritizeVerb and no weight', 'Give a weight of at least 1.');
  const isSecure = url.startsWith('https:');
  if (fields.enableHTTPS.flag(isSecure) !== isSecure) {
    fields.enableHTTPS.fail(`does not fit ${url}`, 'Begin urlPrefix with https:// to talk TLS, or leave enableHTTPS out.');
  }
  if (!fields.tlsConfig.isAbsent && !isSecure) fields.tlsConfig.fail(`is of no use for ${url}`, 'Begin urlPrefix with https://.');
  const known = {
    urlPrefix: url,
    filterVerb: verb(fields.filterVerb),
    prioritizeVerb,
    preemptVerb: verb(fields.preemptVerb),
    bindVerb: verb(fields.bindVerb),
    weight,
    timeoutMs: readTimeout(fields.httpTimeout),
    nodeCacheCapable: fields.nodeCacheCapable.flag(false),
    managedResources,
    ignorable: fields.ignorable.flag(false),
    tls: fields.tlsConfig.isAbsent ? undefined : readTls(fields.tlsConfig),
  };
  if (!known.filterVerb && !prioritizeVerb && !known.preemptVerb && !known.bindVerb) {
    one.fail('has no verb', 'Name a filterVerb, prioritizeVerb, preemptVerb or bindVerb.');
  }
  return known;
}

function readUrl(field: Field): string {
  const text = field.text();
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.search !== '' || url.hash !== '') {
    field.fail('is no URL', 'Give one that begins with http:// or https://, without a query.');
  }
  if (url.username !== '' || url.password !== '') field.fail('has a password in it', 'Use a client certificate in tlsConfig.');
  return text;
}

function readTimeout(field: Field): number {
  if (field.isAbsent) return defaultTimeoutMs;
  const text = field.text();
  const ms = isDuration(text) ? parseDuration(text) : Number.NaN;
  if (!(ms >= 1 && ms <= maxTimeoutMs)) field.fail('is out of range', `Give a time from 1ms to ${maxTimeoutMs / 1_000}s, as 500ms.`);
  return ms;
}

function readTls(field: Field): ExtenderTls {
  const fields = field.object(['insecure', 'serverName', 'certFile', 'keyFile', 'caFile', 'certData', 'keyData', 'caData']);
  const source = (data: Field, file: Field): PemSource | undefined => {
    if (!data.isAbsent) return { text: Buffer.from(data.text(), 'base64').toString('utf8') };
    return file.isAbsent ? undefined : { file: file.text() };
  };
  const insecure = fields.insecure.flag(false);
  const ca = source(fields.caData, fields.caFile);
  if (insecure && ca !== undefined) fields.insecure.fail('is set beside an authority', 'Leave out one of the two.');
  const cert = source(fields.certData, fields.certFile);
  const key = source(fields.keyData, fields.keyFile);
  if ((cert === undefined) !== (key === undefined)) field.fail('has a certificate or a key, but not both', 'Give both.');
  return { insecure, serverName: fields.serverName.isAbsent ? undefined : fields.serverName.text(), cert, key, ca };
}

/**
 * Reads the files that extenders name, so that a missing one is found before anything starts.
 *
 * @throws SchedulerConfigurationError that names the file
 */
export async function readExtenderFiles(extenders: readonly ExtenderConfiguration[]): Promise<readonly ExtenderConfiguration[]> {
  return Promise.all(
    extenders.map(async (extender) => {
      const { tls } = extender;
      if (tls === undefined) return extender;
      const [cert, key, ca] = await Promise.all([readPem(tls.cert), readPem(tls.key), readPem(tls.ca)]);
      return { ...extender, tls: { ...tls, cert, key, ca } };
    }),
  );
}

async function readPem(source: PemSource | undefined): Promise<{ readonly text: string } | undefined> {
  if (source === undefined || 'text' in source) return source;
  try {
    const bytes = await readFile(source.file);
    if (bytes.length > maxPemBytes) throw new Error('it is too large for a certificate');
    return { text: bytes.toString('utf8') };
  } catch (err) {
    const why = err instanceof Error ? err.message : String(err);
    throw new SchedulerConfigurationError(`tlsConfig of an extender names ${source.file}: ${why}`, 'Name a PEM file that can be read.');
  }
}
