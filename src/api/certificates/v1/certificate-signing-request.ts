import type {
  CertificateSigningRequestCondition as V1CertificateSigningRequestCondition,
  CertificateSigningRequestSpec as V1CertificateSigningRequestSpec,
  CertificateSigningRequestStatus as V1CertificateSigningRequestStatus,
} from 'kubernetes-types/certificates/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { type DeepReadonly, deepEqual, type KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, durationText, nameColumn } from '../../columns.ts';
import { isAbsent, withField } from '../../copy-on-write.ts';
import { duplicate, forbidden, invalidValue, notSupported, required, tooLong } from '../../field-errors.ts';
import { dnsSubdomainErrors } from '../../formats.ts';

export const certificateSigningRequests: KindDefinition<CertificateSigningRequest> = {
  group: 'certificates.k8s.io',
  version: 'v1',
  resource: 'certificatesigningrequests',
  kind: 'CertificateSigningRequest',
  namespaced: false,
  singular: 'certificatesigningrequest',
  shortNames: ['csr'],
  categories: [],
  schemaName: 'io.k8s.api.certificates.v1.CertificateSigningRequest',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [
    { name: 'approval', verbs: ['get', 'patch', 'update'] },
    { name: 'status', verbs: ['get', 'patch', 'update'] },
  ],
  columns: [
    nameColumn,
    ageColumn,
    { name: 'SignerName', type: 'string', description: 'Signer that is asked.', cell: ({ spec }) => spec.signerName || '<none>' },
    { name: 'Requestor', type: 'string', description: 'Who asked.', cell: ({ spec }) => spec.username ?? '' },
    {
      name: 'RequestedDuration',
      type: 'string',
      description: 'Requested lifetime of the certificate.',
      cell: ({ spec }) => (isAbsent(spec.expirationSeconds) ? '<none>' : durationText(spec.expirationSeconds * 1000)),
    },
    { name: 'Condition', type: 'string', description: 'Decision, and whether the certificate was issued.', cell: conditionText },
  ],
  selectableFields: { 'spec.signerName': ({ spec }) => spec.signerName ?? '' },
  deleteAnswer: 'status',
  shortFieldLabelError: true,
  // The server sets the requester, since signers decide by it.
  prepareForCreate: (request, { user }) => {
    const { username: _, uid: _uid, groups: _groups, extra: _extra, ...spec } = request.spec ?? {};
    const asked = {
      ...spec,
      username: user.name,
      ...(user.uid === undefined ? {} : { uid: user.uid }),
      groups: user.groups,
      ...(user.extra === undefined ? {} : { extra: user.extra }),
    };
    return { ...request, spec: asked as CertificateSigningRequestSpec, status: {} };
  },
  prepareForUpdate: (request, before) => withField(request, 'spec', before.spec),
  prepareForStatus: (request, before, { subresource, now }) => {
    const given = (request.status?.conditions ?? []).map((condition) => dated(condition, before, now));
    const old = before.status?.conditions ?? [];
    // Decisions are made through `approval`, and nothing else is.
    const decided = subresource === 'approval' ? given : withDecisionsOf(old, given);
    const { conditions: _, ...status } = (subresource === 'approval' ? before.status : request.status) ?? {};
    return { ...request, status: { ...status, ...(decided.length === 0 ? {} : { conditions: decided }) } };
  },
  validateStatus: ({ status }, before, subresource) => {
    const errors = keptErrors(status, before.status);
    if (subresource !== 'approval') errors.push(...addedErrors(status, before.status));
    const types = new Set<string>();
    for (const [index, { type = '', status: value = '' }] of (status?.conditions ?? []).entries()) {
      const field = `status.conditions[${index}]`;
      if (type === '') errors.push(required(`${field}.type`));
      if (value === '') {
        errors.push(required(`${field}.status`));
        continue;
      }
      if (!conditionStatuses.includes(value)) errors.push(notSupported(`${field}.status`, value, conditionStatuses));
      if (value !== 'True' && isDecisionOrFailure(type)) {
        errors.push(notSupported(`${field}.status`, value, ['True']));
      }
      if (types.has(type)) errors.push(duplicate(`${field}.type`, type));
      types.add(type);
    }
    if (types.has('Approved') && types.has('Denied')) {
      errors.push(invalidValue('status.conditions', 'Denied', 'Approved and Denied conditions are mutually exclusive'));
    }
    return errors;
  },
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && (spec === before.spec || deepEqual(spec, before.spec))) return errors;
    if (!isRequestPem(spec.request)) {
      errors.push(invalidValue('spec.request', spec.request ?? '', 'PEM block type must be CERTIFICATE REQUEST'));
    } else if (spec.request.length > maxRequestLength) errors.push(tooLong('spec.request', maxRequestLength));
    const named = spec.usages ?? [];
    if (named.length === 0) errors.push(required('spec.usages'));
    for (const [index, usage] of named.entries()) {
      if (!usages.includes(usage)) errors.push(notSupported(`spec.usages[${index}]`, usage, usages));
      if (named.indexOf(usage) !== index) errors.push(duplicate(`spec.usages[${index}]`, usage));
    }
    checkSignerName(errors, 'spec.signerName', spec.signerName ?? '');
    if (spec.signerName === 'kubernetes.io/legacy-unknown') {
      errors.push(invalidValue('spec.signerName', spec.signerName, 'the legacy signerName is not allowed via this API version'));
    }
    if (!isAbsent(spec.expirationSeconds) && spec.expirationSeconds < shortestSeconds) {
      const why = `may not specify a duration less than ${shortestSeconds} seconds (10 minutes)`;
      errors.push(invalidValue('spec.expirationSeconds', spec.expirationSeconds, why));
    }
    return errors;
  },
};

const shortestSeconds = 600;
const maxSignerNameLength = 571;
/** In base64. Those of the largest keys in use have a tenth of it. */
const maxRequestLength = 65_536;
const conditionStatuses: readonly string[] = ['True', 'False', 'Unknown'];
const usages: readonly string[] = [
  ...['any', 'cert sign', 'client auth', 'code signing', 'content commitment', 'crl sign', 'data encipherment', 'decipher only'],
  ...['digital signature', 'email protection', 'encipher only', 'ipsec end system', 'ipsec tunnel', 'ipsec user', 'key agreement'],
  ...['key encipherment', 'microsoft sgc', 'netscape sgc', 'ocsp signing', 's/mime', 'server auth', 'signing', 'timestamping'],
];

type Condition = DeepReadonly<V1CertificateSigningRequestCondition>;

const isDecisionOrFailure = (type: string): boolean => type === 'Approved' || type === 'Denied' || type === 'Failed';
const isNoDecision = ({ type }: Condition): boolean => type !== 'Approved' && type !== 'Denied';

/** The conditions that the client sent, with the decisions unchanged; validation refuses new decisions. */
function withDecisionsOf(old: readonly Condition[], given: readonly Condition[]): readonly Condition[] {
  const kept = given.map((one) => (isNoDecision(one) ? one : (old.find(({ type }) => type === one.type) ?? one)));
  return [...kept, ...old.filter((one) => !isNoDecision(one) && !kept.includes(one))];
}

function dated(condition: Condition, before: CertificateSigningRequest, now: string): Condition {
  const old = before.status?.conditions?.find((one) => one.type === condition.type && one.status === condition.status);
  return {
    ...condition,
    lastUpdateTime: condition.lastUpdateTime ?? now,
    lastTransitionTime: condition.lastTransitionTime ?? old?.lastTransitionTime ?? now,
  };
}

const countOf = (status: CertificateSigningRequestStatus | undefined, wanted: string): number =>
  (status?.conditions ?? []).filter(({ type }) => type === wanted).length;

/** Decisions are made through `approval`. */
const addedErrors = (
  status: CertificateSigningRequestStatus | undefined,
  old: CertificateSigningRequestStatus | undefined,
): readonly FieldError[] =>
  ['Approved', 'Denied']
    .filter((type) => countOf(status, type) > countOf(old, type))
    .map((type) => forbidden('status.conditions', `updates may not add a condition of type ${JSON.stringify(type)}`));

/** Decisions and issued certificates are immutable. */
function keptErrors(status: CertificateSigningRequestStatus | undefined, old: CertificateSigningRequestStatus | undefined): FieldError[] {
  const errors: FieldError[] = [];
  for (const type of ['Approved', 'Denied', 'Failed']) {
    if (countOf(status, type) < countOf(old, type)) {
      errors.push(forbidden('status.conditions', `updates may not remove a condition of type ${JSON.stringify(type)}`));
    }
  }
  const certificate = status?.certificate ?? '';
  const issued = old?.certificate ?? '';
  if (certificate === issued) return errors;
  if (issued !== '') errors.push(forbidden('status.certificate', 'updates may not modify existing certificate content'));
  const why = certificateRefusal(certificate);
  if (why !== undefined) errors.push(invalidValue('status.certificate', '<certificate data>', why));
  return errors;
}

function certificateRefusal(text: string): string | undefined {
  if (text === '') return undefined;
  const types = [
    ...Buffer.from(text, 'base64')
      .toString('latin1')
      .matchAll(/-----BEGIN ([A-Z0-9 ]+)-----/g),
  ].map(([, type]) => type);
  const odd = types.find((type) => type !== 'CERTIFICATE');
  if (odd !== undefined) return `only CERTIFICATE PEM blocks are allowed, found ${JSON.stringify(odd)}`;
  return types.length === 0 ? 'must contain at least one CERTIFICATE PEM block' : undefined;
}

/** True when the base64 text is a PEM block of the right type; the signer parses its content. */
function isRequestPem(text: string | undefined): text is string {
  const pem = Buffer.from(text ?? '', 'base64').toString('latin1');
  return /-----BEGIN CERTIFICATE REQUEST-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE REQUEST-----/.test(pem);
}

function checkSignerName(errors: FieldError[], field: string, name: string): void {
  if (name === '') {
    errors.push(required(field));
    return;
  }
  const [domain = '', path = '', ...rest] = name.split('/');
  if (domain === '' || path === '' || rest.length > 0) {
    errors.push(invalidValue(field, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'"));
    return;
  }
  if (name.length > maxSignerNameLength) errors.push(tooLong(field, maxSignerNameLength));
  for (const part of [domain, path]) {
    for (const sentence of dnsSubdomainErrors(part)) {
      errors.push(invalidValue(field, part, `validating label ${JSON.stringify(part)}: ${sentence}`));
    }
  }
  if (!domain.includes('.')) {
    errors.push(invalidValue(field, domain, 'should be a domain with at least two segments separated by dots'));
  }
}

function conditionText({ status }: CertificateSigningRequest): string {
  const types = (status?.conditions ?? []).map(({ type }) => type);
  const decision = types.includes('Denied') ? 'Denied' : types.includes('Approved') ? 'Approved' : undefined;
  const words = [decision ?? (types.includes('Failed') ? undefined : 'Pending')];
  if (types.includes('Failed')) words.push('Failed');
  if ((status?.certificate ?? '') !== '') words.push('Issued');
  return words.filter((word) => word !== undefined).join(',');
}

export interface CertificateSigningRequest extends KubeObject {
  readonly spec: CertificateSigningRequestSpec;
  readonly status?: CertificateSigningRequestStatus;
}
export type CertificateSigningRequestSpec = DeepReadonly<V1CertificateSigningRequestSpec>;
export type CertificateSigningRequestStatus = DeepReadonly<V1CertificateSigningRequestStatus>;
