import { describe, expect, it } from 'vitest';
import {
  applyOptionsOf,
  deleteOptionsOf,
  listRequestOf,
  timeoutMsOf,
  watchQueryOf,
  writeOptionsOf,
} from '../../../../src/apiserver/http/options.ts';

const query = (text: string) => new URLSearchParams(text);

describe('options of requests', () => {
  it('takes a negative limit for none, and refuses what is no number', () => {
    expect(listRequestOf(query('limit=-1'), 'x').limit).toBeUndefined();
    expect(listRequestOf(query('limit=5&continue=&labelSelector=a%3Db'), 'x')).toMatchObject({
      namespace: 'x',
      limit: 5,
      continue: undefined,
      labelSelector: 'a=b',
    });
    expect(() => listRequestOf(query('limit=abc'), undefined)).toThrow('strconv.ParseInt: parsing "abc": invalid syntax');
  });

  it('refuses initial events on a list, with every rule that is broken', () => {
    expect(() => listRequestOf(query('sendInitialEvents=true&resourceVersionMatch=NotOlderThan'), undefined)).toThrow(
      'ListOptions.meta.k8s.io "" is invalid: [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list]',
    );
  });

  it('refuses a field manager with letters that cannot be shown, and says every value of a dry run', () => {
    expect(() => writeOptionsOf(query('fieldManager=a%01b'), 'PatchOptions')).toThrow(
      'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\\x01b": invalid character U+0001 (at position 1)',
    );
    expect(writeOptionsOf(query('fieldManager=kubectl-client-side apply'), 'PatchOptions').fieldManager).toBe('kubectl-client-side apply');
    expect(() => writeOptionsOf(query('dryRun=All&dryRun=yes'), 'PatchOptions')).toThrow('dryRun: Unsupported value: ["All","yes"]');
    expect(() => listRequestOf(query('timeoutSeconds=x'), undefined)).toThrow('strconv.ParseInt: parsing "x": invalid syntax');
  });

  it('reads the time that a client gives its request, and refuses what is no duration', () => {
    const times = ['5s', '1h2m3.5s', '1ns', '0', '-1s', ''].map((timeout) => timeoutMsOf(query(`timeout=${timeout}`)));
    expect(times).toEqual([5_000, 3_723_500, 0.000001, undefined, undefined, undefined]);
    expect(() => timeoutMsOf(query('timeout=x'))).toThrow('invalid timeout specified in the request URL - time: invalid duration "x"');
  });

  it('reads the options of a watch', () => {
    expect(watchQueryOf(query('watch=1&allowWatchBookmarks=true&timeoutSeconds=7&sendInitialEvents=false'))).toMatchObject({
      allowBookmarks: true,
      timeoutSeconds: 7,
      sendInitialEvents: false,
    });
  });

  it('checks the options of a write', () => {
    expect(writeOptionsOf(query('dryRun=All&fieldManager=me&fieldValidation=Strict'), 'CreateOptions')).toEqual({
      dryRun: true,
      fieldManager: 'me',
      fieldValidation: 'Strict',
    });
    expect(() => writeOptionsOf(query(`fieldManager=${'x'.repeat(129)}`), 'CreateOptions')).toThrow(
      'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes',
    );
    expect(() => writeOptionsOf(query('dryRun=Some'), 'UpdateOptions')).toThrow(
      'dryRun: Unsupported value: ["Some"]: supported values: "All"',
    );
  });

  it('wants a field manager for apply, and force for nothing else', () => {
    expect(applyOptionsOf(query('fieldManager=m&force=true'), true)).toEqual({ force: true });
    expect(applyOptionsOf(query('fieldManager=m&force=false'), true)).toEqual({ force: false });
    expect(() => applyOptionsOf(query(''), true)).toThrow(
      'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
    );
    expect(() => applyOptionsOf(query('force=true'), false)).toThrow('may not be specified for non-apply patch');
  });

  it('takes options of a deletion from the body, else from the query', () => {
    expect(deleteOptionsOf(query('gracePeriodSeconds=3&propagationPolicy=Background'), undefined)).toEqual({
      gracePeriodSeconds: 3,
      propagationPolicy: 'Background',
    });
    const body = {
      kind: 'DeleteOptions',
      apiVersion: 'v1',
      orphanDependents: true,
      dryRun: ['All'],
      preconditions: { uid: 'u', resourceVersion: '7' },
    };
    expect(deleteOptionsOf(query('gracePeriodSeconds=3'), body)).toEqual({
      propagationPolicy: 'Orphan',
      dryRun: true,
      preconditions: { uid: 'u', resourceVersion: '7' },
    });
    expect(deleteOptionsOf(query(''), { gracePeriodSeconds: -5 })).toEqual({ gracePeriodSeconds: 1 });
  });

  it('words broken deletion options as the real server does', () => {
    expect(() => deleteOptionsOf(query('propagationPolicy=Foo'), undefined)).toThrow(
      'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Foo": supported values: "Foreground", "Background", "Orphan", "nil"',
    );
    expect(() => deleteOptionsOf(query(''), { orphanDependents: true, propagationPolicy: 'Background' })).toThrow(
      'propagationPolicy: Invalid value: "Background": orphanDependents and deletionPropagation cannot be both set',
    );
    expect(() => deleteOptionsOf(query(''), { kind: 'Foo', apiVersion: 'v1' })).toThrow('no kind "Foo" is registered for version "v1"');
  });
});
