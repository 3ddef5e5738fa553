import { describe, expect, it } from 'vitest';
import { type Alert, alerts } from '../../../../src/api/notification/v1beta3/alert.ts';
import { type Provider, providers } from '../../../../src/api/notification/v1beta3/provider.ts';

const metadata = { name: 'x', namespace: 'flux-system' };
const apiVersion = 'notification.toolkit.fluxcd.io/v1beta3';
const alert = (spec: unknown): Alert => ({ apiVersion, kind: 'Alert', metadata, spec }) as Alert;
const provider = (spec: unknown): Provider => ({ apiVersion, kind: 'Provider', metadata, spec }) as Provider;
const messages = (errors: readonly { readonly field: string; readonly message: string }[] | undefined): readonly string[] =>
  (errors ?? []).map(({ field, message }) => `${field}: ${message}`);

describe('an Alert', () => {
  const spec = { providerRef: { name: 'chat' }, eventSources: [{ kind: 'Kustomization', name: '*' }] };

  it('is sent from severity info when it says nothing, and keeps what it says', () => {
    expect(alerts.defaults?.(alert(spec)).spec.eventSeverity).toBe('info');
    const strict = alert({ ...spec, eventSeverity: 'error' });
    expect(alerts.defaults?.(strict)).toBe(strict);
  });

  it('is refused as Flux’s definition refuses it', () => {
    expect(alerts.validate?.(alert(spec))).toEqual([]);
    expect(messages(alerts.validate?.(alert({})))).toEqual(['spec.providerRef: Required value', 'spec.eventSources: Required value']);
    expect(
      messages(
        alerts.validate?.(alert({ ...spec, eventSeverity: 'loud', eventSources: [{ kind: 'Pod', name: '' }], summary: 'x'.repeat(256) })),
      ),
    ).toEqual([
      'spec.eventSeverity: Unsupported value: "loud": supported values: "info", "error"',
      expect.stringContaining('spec.eventSources[0].kind: Unsupported value: "Pod"'),
      'spec.eventSources[0].name: Invalid value: "": spec.eventSources[0].name in body should be at least 1 chars long',
      'spec.summary: Too long: may not be more than 255 bytes',
    ]);
  });
});

describe('a Provider', () => {
  it('takes every type that Flux has, and is refused as Flux’s definition refuses it', () => {
    for (const type of ['generic', 'generic-hmac', 'slack', 'github', 'gitlab', 'gitea', 'pagerduty']) {
      expect(providers.validate?.(provider({ type })), type).toEqual([]);
    }
    expect(messages(providers.validate?.(provider({ timeout: '1h', proxy: 'ftp://x', secretRef: {} })))).toEqual([
      'spec.type: Required value',
      expect.stringContaining('spec.timeout: Invalid value: "1h"'),
      expect.stringContaining('spec.proxy: Invalid value: "ftp://x"'),
      'spec.secretRef.name: Required value',
    ]);
  });
});
