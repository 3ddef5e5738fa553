import { describe, expect, it } from 'vitest';
import { validateDefinition } from '../../../src/api/apiextensions/v1/definition-validation.ts';
import { builtInKinds } from '../../../src/api/kinds.ts';
import { faultOfFluxObject, fluxDefinitions } from '../../../src/cli/flux-definitions.ts';
import type { KubeObject } from '../../../src/machinery/object.ts';
import type { FieldError } from '../../../src/machinery/status-error.ts';
import { ruleErrors } from '../../../src/machinery/structural-schema/rules.ts';
import { compiledStructureOf } from '../../../src/machinery/structural-schema/structure.ts';
import { schemaErrors } from '../../../src/machinery/structural-schema/validate.ts';

const sourceRef = { kind: 'GitRepository', name: 'a' };
const app = { interval: '10m', prune: true, sourceRef };
const repository = { url: 'https://git.example/a', interval: '10s' };
const receiver = { type: 'github', secretRef: { name: 'token' }, resources: [{ kind: 'GitRepository', name: 'a' }] };
const alert = { providerRef: { name: 'chat' }, eventSources: [{ kind: 'Kustomization', name: '*' }] };
const long = 'x'.repeat(3_000);

/** Specs of each kind that break one rule or several. */
const wrong: Readonly<Record<string, readonly unknown[]>> = {
  GitRepository: [
    undefined,
    {},
    { ...repository, url: 'file:///etc' },
    { ...repository, url: 'ssh' },
    { ...repository, interval: 'soon', timeout: '1h' },
    { ...repository, provider: 'cvs', secretRef: {}, proxySecretRef: {} },
    { ...repository, verify: { mode: 'tag' } },
    { ...repository, verify: { secretRef: {} }, include: [{}, { repository: {} }] },
    { ...repository, serviceAccountName: 'x' },
  ],
  Kustomization: [
    undefined,
    {},
    { ...app, interval: '10', retryInterval: '1d', timeout: '-1s' },
    { ...app, sourceRef: { kind: 'Git', name: 'a' } },
    { ...app, sourceRef: {}, deletionPolicy: 'Keep' },
    { ...app, targetNamespace: '', namePrefix: '', nameSuffix: long },
    { ...app, targetNamespace: long, dependsOn: [{}], healthChecks: [{}] },
    { ...app, decryption: { provider: 'age', secretRef: {} }, buildMetadata: ['all'] },
    { ...app, postBuild: { substituteStrategy: 'Never', substituteFrom: [{ kind: 'Pod', name: '' }, { kind: 'Secret' }] } },
    { ...app, patches: [{}], images: [{}] },
  ],
  Receiver: [
    {},
    { ...receiver, type: 'mail', interval: 'soon' },
    { ...receiver, secretRef: {}, resources: [{ kind: 'Pod', name: '', namespace: long }] },
  ],
  Alert: [
    undefined,
    {},
    { ...alert, providerRef: {}, eventSeverity: 'loud', summary: long },
    { ...alert, eventSources: [{ kind: 'Pod', name: '', namespace: '' }] },
  ],
  Provider: [
    undefined,
    {},
    { type: 'pigeon', timeout: '1h', interval: 'soon', proxy: 'ftp://x' },
    { type: 'slack', address: long, channel: long, username: long, secretRef: {}, certSecretRef: {}, proxySecretRef: {} },
  ],
};

const sorted = (errors: readonly FieldError[]): readonly string[] => errors.map(({ field, message }) => `${field}: ${message}`).sort();

describe('the fault of an object', () => {
  const apps = builtInKinds.find((kind) => kind.kind === 'Kustomization');
  const faultOf = (metadata: object, spec?: unknown): string | undefined =>
    apps &&
    faultOfFluxObject(apps, { apiVersion: 'x/v1', kind: 'Kustomization', metadata: { name: 'x', ...metadata }, spec } as KubeObject);

  it('is named with its field, and that a deletion waits for it', () => {
    expect(faultOf({}, app)).toBeUndefined();
    expect(faultOf({})).toBe('spec: Required value');
    const leaving = { deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['finalizers.fluxcd.io'] };
    expect(faultOf(leaving, { ...app, prune: undefined })).toBe('spec.prune: Required value; its deletion waits for a correction');
  });

  it('is none where the kind is another', () => {
    const pods = builtInKinds.find((kind) => kind.kind === 'Pod');
    expect(pods && faultOfFluxObject(pods, { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'x' } })).toBeUndefined();
  });
});

describe.each(fluxDefinitions().map((definition) => [definition.spec.names.kind, definition] as const))(
  'the definition of %s on a cluster without Flux',
  (name, definition) => {
    const schema = definition.spec.versions[0]?.schema?.openAPIV3Schema ?? {};
    const { root, complaints } = compiledStructureOf(schema);
    const kind = builtInKinds.find((each) => each.kind === name);
    const byDefinition = (object: KubeObject): readonly FieldError[] => {
      const found = schemaErrors(root, object);
      return found.length > 0 ? found : ruleErrors(root, object, found);
    };

    it('is one that API servers take', () => {
      expect(complaints).toEqual([]);
      expect(validateDefinition(definition)).toEqual([]);
    });

    it.each((wrong[name] ?? []).map((spec) => [JSON.stringify(spec)?.slice(0, 100), spec] as const))(
      'refuses %s as Midship does',
      (_, spec) => {
        const object = { apiVersion: 'x/v1', kind: name, metadata: { name: 'x', namespace: 'y' }, spec } as KubeObject;
        if (spec === undefined) delete (object as { spec?: unknown }).spec;
        const errors = sorted(kind?.validate?.(object) ?? []);
        expect(errors).not.toEqual([]);
        expect(sorted(byDefinition(object))).toEqual(errors);
      },
    );
  },
);
