import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Kustomization } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { GitRepository } from '../../../src/api/source/v1/git-repository.ts';
import * as repository from '../../../src/lifecycle/git-repository.facts.ts';
import * as app from '../../../src/lifecycle/kustomization.facts.ts';

const folder = new URL('../../../src/lifecycle/', import.meta.url);
const machines = readdirSync(folder).flatMap((file) => /^(.*)\.machine\.ts$/.exec(file)?.[1] ?? []);

describe('facts of a machine', () => {
  it.each(machines)('for %s are read by stateOf, eventsOf and statusOf', async (machine) => {
    const facts = (await import(new URL(`${machine}.facts.ts`, folder).href)) as Readonly<Record<string, unknown>>;
    for (const name of ['stateOf', 'eventsOf', 'statusOf']) expect(facts[name], name).toBeTypeOf('function');
  });
});

describe('events of an app', () => {
  const appWith = (spec: Partial<Kustomization['spec']>, metadata: Partial<Kustomization['metadata']> = {}): Kustomization => ({
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name: 'shop', namespace: 'flux-system', ...metadata },
    spec: { interval: '10m', prune: true, sourceRef: { kind: 'GitRepository', name: 'x' }, ...spec },
  });
  const quiet: app.AppObservation = {
    rejection: undefined,
    hasRevision: true,
    dependency: undefined,
    isOutOfDate: false,
    hasDrifted: false,
  };
  const finding = { reason: 'R', message: '' };
  const typesOf = (of: Kustomization, seen: Partial<app.AppObservation>): string[] =>
    [...app.eventsOf(of, { ...quiet, ...seen })].map(({ type }) => type);

  it('take the first thing that keeps the app from being applied', () => {
    const everything = { rejection: finding, hasRevision: false, dependency: finding, isOutOfDate: true, hasDrifted: true };
    const { rejection: _rejection, ...valid } = everything;
    const { hasRevision: _hasRevision, ...read } = valid;
    const { dependency: _dependency, ...ready } = read;
    expect(typesOf(appWith({}, { deletionTimestamp: '2026-01-01T00:00:00Z' }), everything)).toEqual(['DELETED']);
    expect(typesOf(appWith({ suspend: true }), everything)).toEqual(['SUSPENDED']);
    expect(typesOf(appWith({}), everything)).toEqual(['RESUMED', 'SPEC_REJECTED']);
    expect(typesOf(appWith({}), valid)).toEqual(['RESUMED', 'SOURCE_MISSING']);
    expect(typesOf(appWith({}), read)).toEqual(['RESUMED', 'DEPENDENCY_NOT_READY']);
    expect(typesOf(appWith({}), ready)).toEqual(['RESUMED', 'OUT_OF_DATE']);
    expect(typesOf(appWith({}), { hasDrifted: true })).toEqual(['RESUMED', 'DRIFTED']);
    expect(typesOf(appWith({}), {})).toEqual(['RESUMED']);
  });

  const acted: app.HealthObservation = {
    learned: [],
    isRollingOut: false,
    hasErrors: false,
    readiness: 'Progressing',
    isLate: false,
  };
  const afterwards = (from: app.KustomizationState, seen: Partial<app.HealthObservation>, spec: Partial<Kustomization['spec']> = {}) =>
    [...app.healthEventsOf(appWith(spec), from, { ...acted, ...seen })].map(({ type }) => type);

  it('wait for health until it comes, cannot come or is late', () => {
    expect(afterwards('Progressing', {})).toEqual([]);
    expect(afterwards('Progressing', { readiness: 'Healthy', isLate: true })).toEqual(['BECAME_HEALTHY']);
    expect(afterwards('Progressing', { readiness: 'NoController' })).toEqual(['CANNOT_BECOME_HEALTHY']);
    expect(afterwards('Progressing', { isLate: true })).toEqual(['HEALTH_DEADLINE_PASSED']);
  });

  it('judge health in the pass that applied the revision when the app waits for it', () => {
    const learned = [{ type: 'APPLIED', waits: true }] as const;
    expect(afterwards('Ready', { learned, readiness: 'Healthy' }, { wait: true })).toEqual(['APPLIED', 'BECAME_HEALTHY']);
    expect(afterwards('Ready', { learned, readiness: 'Healthy' })).toEqual(['APPLIED']);
    expect(afterwards('Ready', { learned, isLate: true }, { wait: true })).toEqual(['APPLIED']);
  });

  it('say nothing of health between two waves and after a sync that failed', () => {
    expect(afterwards('Progressing', { isRollingOut: true, readiness: 'Healthy' })).toEqual([]);
    expect(afterwards('Progressing', { learned: [{ type: 'SYNC_FAILED' }], readiness: 'Healthy' })).toEqual(['SYNC_FAILED']);
  });
});

describe('events of a repository', () => {
  const repositoryWith = (spec: Partial<GitRepository['spec']>, metadata: Partial<GitRepository['metadata']> = {}): GitRepository => ({
    apiVersion: 'source.toolkit.fluxcd.io/v1',
    kind: 'GitRepository',
    metadata: { name: 'x', namespace: 'flux-system', ...metadata },
    spec: { url: 'https://example.com/x.git', interval: '10s', ...spec },
  });
  const typesOf = (of: GitRepository, unsupported?: string): string[] => repository.eventsOf(of, { unsupported }).map(({ type }) => type);

  it('ask for the commit unless the object is deleted, suspended or not supported', () => {
    expect(typesOf(repositoryWith({}))).toEqual(['RESUMED', 'DUE']);
    expect(typesOf(repositoryWith({}), 'spec.verify')).toEqual(['UNSUPPORTED']);
    expect(typesOf(repositoryWith({ suspend: true }), 'spec.verify')).toEqual(['SUSPENDED']);
    expect(typesOf(repositoryWith({ suspend: true }, { deletionTimestamp: '2026-01-01T00:00:00Z' }))).toEqual(['DELETED']);
  });
});
