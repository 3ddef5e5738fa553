import type { KindDefinition } from '../../../machinery/kind.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import type { Schema } from '../../../machinery/schema.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { required } from '../../field-errors.ts';
import {
  checkChoice,
  checkLength,
  checkPattern,
  checkReference,
  durationPattern,
  fluxAgeColumn,
  type LocalObjectReference,
  schemaOf,
  timeoutPattern,
} from '../../flux.ts';

const schemaName = 'io.fluxcd.toolkit.notification.v1beta3.Provider';

const types = [
  'slack',
  'discord',
  'msteams',
  'rocket',
  'generic',
  'generic-hmac',
  'github',
  'gitlab',
  'gitea',
  'bitbucketserver',
  'bitbucket',
  'azuredevops',
  'googlechat',
  'googlepubsub',
  'webex',
  'sentry',
  'azureeventhub',
  'telegram',
  'lark',
  'matrix',
  'opsgenie',
  'alertmanager',
  'grafana',
  'githubdispatch',
  'pagerduty',
  'datadog',
  'nats',
] as const;
export type ProviderType = (typeof types)[number];

const textLengths = [0, 2_048] as const;
const proxyPattern = '^(http|https)://.*$';

/** Flux's Provider: where notifications go. @see https://fluxcd.io/flux/components/notification/providers/ */
export const providers: KindDefinition<Provider> = {
  group: 'notification.toolkit.fluxcd.io',
  version: 'v1beta3',
  resource: 'providers',
  kind: 'Provider',
  namespaced: true,
  singular: 'provider',
  shortNames: [],
  categories: [],
  schemaName,
  schemas: { [schemaName]: schema() },
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [],
  columns: [nameColumn, fluxAgeColumn],
  selectableFields: {},
  deleteAnswer: 'status',
  validate: (provider, before) => (before !== undefined && provider.spec === before.spec ? [] : validateSpec(provider.spec)),
};

export interface Provider extends KubeObject {
  readonly spec: ProviderSpec;
}

export interface ProviderSpec {
  readonly type: ProviderType;
  readonly address?: string;
  readonly channel?: string;
  readonly username?: string;
  /** Go duration: `15s`. */
  readonly timeout?: string;
  readonly interval?: string;
  /** Keys `token`, `address`, `username`, `headers` (YAML). */
  readonly secretRef?: LocalObjectReference;
  /** Keys `ca.crt`, `tls.crt`, `tls.key`. */
  readonly certSecretRef?: LocalObjectReference;
  readonly proxy?: string;
  readonly proxySecretRef?: LocalObjectReference;
  readonly serviceAccountName?: string;
  readonly commitStatusExpr?: string;
  readonly suspend?: boolean;
}

function validateSpec(spec: ProviderSpec | undefined): readonly FieldError[] {
  const errors: FieldError[] = [];
  if (isAbsent(spec)) return [required('spec')];
  checkChoice(errors, 'spec.type', spec.type, { choices: types, isRequired: true });
  for (const field of ['address', 'channel', 'username', 'proxy'] as const) checkLength(errors, `spec.${field}`, spec[field], textLengths);
  checkPattern(errors, 'spec.timeout', spec.timeout, { pattern: timeoutPattern });
  checkPattern(errors, 'spec.interval', spec.interval, { pattern: durationPattern });
  checkPattern(errors, 'spec.proxy', spec.proxy, { pattern: proxyPattern });
  checkReference(errors, 'spec.secretRef', spec.secretRef);
  checkReference(errors, 'spec.certSecretRef', spec.certSecretRef);
  checkReference(errors, 'spec.proxySecretRef', spec.proxySecretRef);
  return errors;
}

function schema(): Schema {
  const { text, matching, sized, flag, choice, object, reference, kind } = schemaOf;
  const spec = object(
    {
      address: sized(textLengths, 'Destination: an HTTP address, or the repository for commit statuses.'),
      certSecretRef: reference('Secret with certificates for TLS.'),
      channel: sized(textLengths, 'Channel to post in.'),
      commitStatusExpr: text('Expression that names the commit status.'),
      interval: matching(durationPattern, 'Not used.'),
      proxy: { ...matching(proxyPattern, 'Proxy to use.'), maxLength: 2_048 },
      proxySecretRef: reference('Secret with the proxy to use.'),
      secretRef: reference('Secret with the credentials.'),
      serviceAccountName: text('Account to authenticate as.'),
      suspend: flag('Stop sending.'),
      timeout: matching(timeoutPattern, 'Longest time of one request.'),
      type: choice(types, 'How to send.'),
      username: sized(textLengths, 'Name to post as.'),
    },
    { required: ['type'], description: 'Where notifications go.' },
  );
  return kind('Where notifications go.', { spec });
}
