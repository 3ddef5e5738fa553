import { describe, expect, it } from 'vitest';
import { isDuration, parseDuration } from '../../../src/api/flux.ts';
import { type Kustomization, type KustomizationSpec, kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { type Receiver, type ReceiverSpec, receivers } from '../../../src/api/notification/v1/receiver.ts';
import { type GitRepository, type GitRepositorySpec, gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import { writeContext } from '../../support/write-context.ts';

const metadata = { name: 'x', namespace: 'flux-system', creationTimestamp: '2026-01-01T00:00:00Z' };
const repository = (spec: Partial<GitRepositorySpec>): GitRepository => ({
  apiVersion: 'source.toolkit.fluxcd.io/v1',
  kind: 'GitRepository',
  metadata,
  spec: { url: 'https://git.example/a', interval: '10s', ...spec },
});
const kustomization = (spec: Partial<KustomizationSpec>): Kustomization => ({
  apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
  kind: 'Kustomization',
  metadata,
  spec: { interval: '10m', prune: true, sourceRef: { kind: 'GitRepository', name: 'a' }, ...spec },
});
const messages = (errors: readonly { readonly field: string; readonly message: string }[] | undefined) =>
  (errors ?? []).map(({ field, message }) => `${field}: ${message}`);

describe('durations', () => {
  it.each([
    ['10s', 10_000],
    ['1m0s', 60_000],
    ['1h30m', 5_400_000],
    ['1.5s', 1_500],
    ['250ms', 250],
  ])('%s', (text, ms) => expect(parseDuration(text)).toBe(ms));
  it.each(['', '10', '-1s', '1d', '1s ', 's'])('%j is none', (text) => {
    expect(isDuration(text)).toBe(false);
    expect(() => parseDuration(text)).toThrow('not a duration');
  });
});

describe('a GitRepository', () => {
  it('has a timeout by default and starts unobserved', () => {
    const stored = gitRepositories.defaults?.(repository({}));
    expect(stored?.spec.timeout).toBe('60s');
    expect(stored === undefined ? undefined : gitRepositories.prepareForCreate?.(stored, writeContext).status).toEqual({
      observedGeneration: -1,
    });
  });

  it('is refused in the words of a custom resource', () => {
    expect(messages(gitRepositories.validate?.(repository({})))).toEqual([]);
    expect(messages(gitRepositories.validate?.(repository({ url: 'ftp://x', interval: '10' })))).toEqual([
      `spec.interval: Invalid value: "10": spec.interval in body should match '^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$'`,
      `spec.url: Invalid value: "ftp://x": spec.url in body should match '^(http|https|ssh)://.*$'`,
    ]);
    const empty = { ...repository({}), spec: {} } as GitRepository;
    expect(messages(gitRepositories.validate?.(empty))).toEqual(['spec.interval: Required value', 'spec.url: Required value']);
    expect(messages(gitRepositories.validate?.(repository({ serviceAccountName: 'x' })))).toEqual([
      "spec: Invalid value: serviceAccountName can only be set when provider is 'azure' or 'aws'",
    ]);
  });

  it('shows url, age and readiness', () => {
    const conditions = [{ type: 'Ready', status: 'True', reason: 'Succeeded', message: 'stored artifact', lastTransitionTime: '' }];
    const object = { ...repository({}), status: { conditions } };
    expect(gitRepositories.columns.map(({ name }) => name)).toEqual(['Name', 'URL', 'Age', 'Ready', 'Status']);
    expect(gitRepositories.columns.map((column) => column.cell(object, { now: Date.parse('2026-01-01T00:00:30Z') }))).toEqual([
      ...['x', 'https://git.example/a', '30s', 'True', 'stored artifact'],
    ]);
  });
});

describe('a Kustomization', () => {
  it('needs to know where from, how often and whether to prune', () => {
    expect(messages(kustomizations.validate?.(kustomization({})))).toEqual([]);
    const empty = { ...kustomization({}), spec: {} } as Kustomization;
    expect(messages(kustomizations.validate?.(empty))).toEqual([
      'spec.interval: Required value',
      'spec.prune: Required value',
      'spec.sourceRef: Required value',
    ]);
    const sourceRef = { kind: 'Git' as 'GitRepository', name: 'a' };
    expect(messages(kustomizations.validate?.(kustomization({ sourceRef, targetNamespace: '' })))).toEqual([
      'spec.sourceRef.kind: Unsupported value: "Git": supported values: "OCIRepository", "GitRepository", "Bucket", "ExternalArtifact"',
      'spec.targetNamespace: Invalid value: "": spec.targetNamespace in body should be at least 1 chars long',
    ]);
  });

  it('keeps its identity when it lacks nothing', () => {
    const stored = kustomizations.defaults?.(kustomization({})) ?? kustomization({});
    expect(stored.spec?.force).toBe(false);
    expect(kustomizations.defaults?.(stored)).toBe(stored);
  });
});

describe('a Receiver', () => {
  const receiver = (spec: Partial<ReceiverSpec>): Receiver => ({
    apiVersion: 'notification.toolkit.fluxcd.io/v1',
    kind: 'Receiver',
    metadata,
    spec: { type: 'github', secretRef: { name: 'token' }, resources: [{ kind: 'GitRepository', name: 'a' }], ...spec },
  });

  it('has the interval and the first status that Flux gives it', () => {
    const stored = receivers.defaults?.(receiver({})) ?? receiver({});
    expect(stored.spec?.interval).toBe('10m');
    expect(receivers.defaults?.(stored)).toBe(stored);
    expect(receivers.prepareForCreate?.(stored, writeContext).status).toEqual({ observedGeneration: -1 });
    expect(receivers.columns.map(({ name }) => name)).toEqual(['Name', 'Age', 'Ready', 'Status']);
  });

  it('is refused with the words of its definition', () => {
    expect(messages(receivers.validate?.(receiver({})))).toEqual([]);
    const resources = [{ kind: 'Pod' as 'GitRepository', name: '' }];
    expect(messages(receivers.validate?.(receiver({ type: 'mail' as 'github', interval: 'soon', resources })))).toEqual([
      expect.stringMatching(/^spec\.type: Unsupported value: "mail": supported values: "generic", /),
      expect.stringMatching(/^spec\.interval: Invalid value: "soon"/),
      expect.stringMatching(/^spec\.resources\[0\]\.kind: Unsupported value: "Pod"/),
      'spec.resources[0].name: Invalid value: "": spec.resources[0].name in body should be at least 1 chars long',
    ]);
    const empty = receiver({ secretRef: undefined as never, resources: undefined as never });
    expect(messages(receivers.validate?.(empty))).toEqual(['spec.secretRef: Required value', 'spec.resources: Required value']);
  });
});
