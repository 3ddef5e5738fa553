import type { PodSpec } from '../../../api/core/v1/pod.ts';
import { invalidValue } from '../../../api/field-errors.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { baselineChecks, overlappingChecks, type PodMetadata, restrictedChecks, type SecurityCheck, type Violation } from './checks.ts';

export type Level = 'privileged' | 'baseline' | 'restricted';

/** A level as of a version of Kubernetes; `latest` is that of this program. */
export interface LevelVersion {
  readonly level: Level;
  /** Minor version of `v1.MINOR`; infinite for `latest`. */
  readonly minor: number;
}

/** The levels that a namespace's labels set for its pods. */
export interface NamespacePolicy {
  readonly enforce: LevelVersion;
  readonly audit: LevelVersion;
  readonly warn: LevelVersion;
  readonly errors: readonly FieldError[];
}

const latest = Number.POSITIVE_INFINITY;
const open: LevelVersion = { level: 'privileged', minor: latest };

const prefix = 'pod-security.kubernetes.io/';
const levels: readonly string[] = ['privileged', 'baseline', 'restricted'];
const modes = ['enforce', 'audit', 'warn'] as const;

export const textOf = ({ level, minor }: LevelVersion): string => `${level}:${minor === latest ? 'latest' : `v1.${minor}`}`;

export const sameLevel = (a: LevelVersion, b: LevelVersion): boolean => a.level === b.level && a.minor === b.minor;

/** Negative when `a` is the less strict. */
export const compareLevels = (a: Level, b: Level): number => levels.indexOf(a) - levels.indexOf(b);

/**
 * Reads the labels `pod-security.kubernetes.io/…`. An unreadable label is an error. As upstream, it counts as the strictest where it
 * is enforced, and as nothing where it only warns or audits. A namespace without the label `enforce` enforces `enforceDefault`.
 */
export function createPolicyReader(enforceDefault: Level): (labels: Readonly<Record<string, string>> | undefined) => NamespacePolicy {
  const unlabelled: NamespacePolicy = Object.freeze({
    enforce: { level: enforceDefault, minor: latest },
    audit: open,
    warn: open,
    errors: [],
  });
  /** By the frozen labels: every pod of a namespace asks. */
  const known = new WeakMap<Readonly<Record<string, string>>, NamespacePolicy>();
  return (labels) => {
    if (labels === undefined) return unlabelled;
    let policy = known.get(labels);
    if (policy === undefined) {
      policy = modes.some((mode) => `${prefix}${mode}` in labels || `${prefix}${mode}-version` in labels)
        ? readPolicy(labels, enforceDefault)
        : unlabelled;
      if (Object.isFrozen(labels)) known.set(labels, policy);
    }
    return policy;
  };
}

function readPolicy(labels: Readonly<Record<string, string>>, enforceDefault: Level): NamespacePolicy {
  const errors: FieldError[] = [];
  const [enforce = open, audit = open, warn = open] = modes.map((mode): LevelVersion => {
    const level = labels[`${prefix}${mode}`];
    const version = labels[`${prefix}${mode}-version`];
    return {
      level: level === undefined ? (mode === 'enforce' ? enforceDefault : open.level) : readLevel(errors, mode, level),
      minor: version === undefined ? latest : readVersion(errors, `${prefix}${mode}-version`, version),
    };
  });
  return { enforce, audit, warn, errors };
}

function readLevel(errors: FieldError[], mode: (typeof modes)[number], text: string): Level {
  if (levels.includes(text)) return text as Level;
  errors.push(invalidValue(`metadata.labels[${prefix}${mode}]`, text, `must be one of ${levels.join(', ')}`));
  return mode === 'enforce' ? 'restricted' : 'privileged';
}

function readVersion(errors: FieldError[], label: string, text: string): number {
  if (text === 'latest') return latest;
  const minor = /^v1\.(0|[1-9][0-9]*)$/.exec(text)?.[1];
  if (minor !== undefined) return Number(minor);
  errors.push(invalidValue(`metadata.labels[${label}]`, text, 'must be "latest" or "v1.x"'));
  return latest;
}

/** Violations of a pod's level, in the order of the real server. */
export function violationsOf({ level, minor }: LevelVersion, metadata: PodMetadata, spec: PodSpec): readonly Violation[] {
  if (level === 'privileged') return [];
  const checks: readonly SecurityCheck[] = [...baselineChecks, ...(level === 'baseline' ? overlappingChecks : restrictedChecks)];
  const found: Violation[] = [];
  for (const { since, check } of checks) {
    if (minor < since) continue;
    const violation = check(spec, metadata, minor);
    if (violation !== undefined) found.push(violation);
  }
  return found;
}

/** `host ports (container "c" uses hostPort 80), privileged` */
export const describe = (violations: readonly Violation[]): string =>
  violations.map(({ reason, detail }) => (detail === '' ? reason : `${reason} (${detail})`)).join(', ');
