import type {
  MutatingWebhook as V1MutatingWebhook,
  WebhookClientConfig as V1WebhookClientConfig,
} from 'kubernetes-types/admissionregistration/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, mapShared, withDefaults, withField } from '../../copy-on-write.ts';
import { duplicate, invalidValue, notSupported, required } from '../../field-errors.ts';
import { check, checkLabelSelector, dnsSubdomainErrors, portNumberErrors } from '../../formats.ts';
import { checkMatchConditionNames, checkRules, defaultRules, failurePolicies, matchPolicies, type Rule } from './match-rules.ts';

/** The two kinds differ in one field of their webhooks. */
const common = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  namespaced: false,
  shortNames: [],
  categories: ['api-extensions'],
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  isReplacedByVersion: true,
  subresources: [],
  columns: [
    nameColumn,
    { name: 'Webhooks', type: 'integer', description: 'Number of webhooks.', cell: ({ webhooks }) => webhooks?.length ?? 0 },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  validate: ({ webhooks }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && webhooks === before.webhooks) return errors;
    const names = new Set<string>();
    for (const [index, webhook] of (webhooks ?? []).entries()) {
      const field = `webhooks[${index}]`;
      checkWebhook(errors, field, webhook);
      if (names.has(webhook.name)) errors.push(duplicate(`${field}.name`, webhook.name));
      names.add(webhook.name);
    }
    return errors;
  },
} as const satisfies Partial<KindDefinition<WebhookConfiguration>>;

export const validatingWebhookConfigurations: KindDefinition<WebhookConfiguration> = {
  ...common,
  resource: 'validatingwebhookconfigurations',
  kind: 'ValidatingWebhookConfiguration',
  singular: 'validatingwebhookconfiguration',
  schemaName: 'io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration',
  defaults: (configuration, before) => withWebhooks(configuration, before, defaultWebhook),
};

export const mutatingWebhookConfigurations: KindDefinition<WebhookConfiguration> = {
  ...common,
  resource: 'mutatingwebhookconfigurations',
  kind: 'MutatingWebhookConfiguration',
  singular: 'mutatingwebhookconfiguration',
  schemaName: 'io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration',
  defaults: (configuration, before) =>
    withWebhooks(configuration, before, (webhook) => withDefaults(defaultWebhook(webhook), { reinvocationPolicy: 'Never' })),
};

function withWebhooks(
  configuration: WebhookConfiguration,
  before: WebhookConfiguration | undefined,
  change: (webhook: Webhook) => Webhook,
): WebhookConfiguration {
  const { webhooks } = configuration;
  if (isAbsent(webhooks) || webhooks === before?.webhooks) return configuration;
  return withField(configuration, 'webhooks', mapShared(webhooks, change));
}

function defaultWebhook(webhook: Webhook): Webhook {
  let result = withDefaults<Webhook>(webhook, {
    failurePolicy: 'Fail',
    matchPolicy: 'Equivalent',
    namespaceSelector: {},
    objectSelector: {},
    timeoutSeconds: 10,
  });
  if (!isAbsent(result.rules)) result = withField(result, 'rules', defaultRules(result.rules as readonly Rule[]) as Webhook['rules']);
  const { clientConfig } = result;
  if (isAbsent(clientConfig?.service)) return result;
  return withField(result, 'clientConfig', withField(clientConfig, 'service', withDefaults(clientConfig.service, { port: 443 })));
}

const sideEffects: readonly string[] = ['None', 'NoneOnDryRun'];

function checkWebhook(errors: FieldError[], field: string, webhook: Webhook): void {
  const name = webhook.name ?? '';
  if (name === '') errors.push(required(`${field}.name`));
  else {
    check(errors, `${field}.name`, name, dnsSubdomainErrors(name));
    if (name.split('.').length < 3) {
      const why = 'should be a domain with at least three segments separated by dots';
      errors.push(invalidValue(`${field}.name`, name, why));
    }
  }
  if ((webhook.admissionReviewVersions ?? []).length === 0) {
    errors.push(required(`${field}.admissionReviewVersions`, 'must specify one of v1, v1beta1'));
  }
  checkRules(errors, `${field}.rules`, (webhook.rules ?? []) as readonly Rule[]);
  checkChoice(errors, `${field}.failurePolicy`, webhook.failurePolicy, failurePolicies);
  checkChoice(errors, `${field}.matchPolicy`, webhook.matchPolicy, matchPolicies);
  if (isAbsent(webhook.sideEffects)) errors.push(required(`${field}.sideEffects`, `must specify one of ${sideEffects.join(', ')}`));
  else checkChoice(errors, `${field}.sideEffects`, webhook.sideEffects, sideEffects);
  const { timeoutSeconds } = webhook;
  if (!isAbsent(timeoutSeconds) && (timeoutSeconds < 1 || timeoutSeconds > 30)) {
    errors.push(invalidValue(`${field}.timeoutSeconds`, timeoutSeconds, 'the timeout value must be between 1 and 30 seconds'));
  }
  checkLabelSelector(errors, `${field}.namespaceSelector`, webhook.namespaceSelector);
  checkLabelSelector(errors, `${field}.objectSelector`, webhook.objectSelector);
  checkChoice(errors, `${field}.reinvocationPolicy`, webhook.reinvocationPolicy, ['IfNeeded', 'Never']);
  checkClient(errors, `${field}.clientConfig`, webhook.clientConfig ?? {});
  checkMatchConditionNames(errors, `${field}.matchConditions`, (webhook as MatchingWebhook).matchConditions ?? []);
}

type MatchingWebhook = Webhook & { readonly matchConditions?: readonly { readonly name?: string }[] };

function checkChoice(errors: FieldError[], field: string, value: string | undefined, supported: readonly string[]): void {
  if (!isAbsent(value) && !supported.includes(value)) errors.push(notSupported(field, value, supported));
}

function checkClient(errors: FieldError[], field: string, { url, service }: DeepReadonly<V1WebhookClientConfig>): void {
  if (isAbsent(url) === isAbsent(service)) {
    errors.push(required(field, 'exactly one of url or service is required'));
  } else if (!isAbsent(url)) {
    const form = 'desired format: https://host[/path]';
    if (!URL.canParse(url)) errors.push(required(`${field}.url`, `url must be a valid URL; ${form}`));
    else {
      const { protocol, username, search, hash } = new URL(url);
      if (protocol !== 'https:') {
        errors.push(invalidValue(`${field}.url`, protocol.slice(0, -1), `'https' is the only allowed URL scheme; ${form}`));
      }
      if (username !== '') errors.push(invalidValue(`${field}.url`, username, 'user information is not permitted in the URL'));
      if (hash !== '') errors.push(invalidValue(`${field}.url`, hash.slice(1), 'fragments are not permitted in the URL'));
      if (search !== '') errors.push(invalidValue(`${field}.url`, search.slice(1), 'query parameters are not permitted in the URL'));
    }
  } else {
    const { port } = service ?? {};
    if (!isAbsent(port))
      check(
        errors,
        `${field}.service.port`,
        port,
        portNumberErrors(port).map((why) => `port is not valid: ${why}`),
      );
    for (const part of ['name', 'namespace'] as const) {
      if ((service?.[part] ?? '') === '') errors.push(required(`${field}.service.${part}`, `service ${part} is required`));
    }
  }
}

export interface WebhookConfiguration extends KubeObject {
  readonly webhooks?: readonly Webhook[];
}
/** The webhook of a validating configuration, which has no `reinvocationPolicy`. */
export type Webhook = DeepReadonly<V1MutatingWebhook>;
