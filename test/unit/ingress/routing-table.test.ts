import { describe, expect, it } from 'vitest';
import type { Ingress, IngressSpec } from '../../../src/api/networking/v1/ingress.ts';
import type { IngressClass } from '../../../src/api/networking/v1/ingress-class.ts';
import { buildRoutingTable, findRoute, hasTls, lookUpHost } from '../../../src/ingress/routing-table.ts';

const ingressClass = (name: string, { controller = 'midship.dev/ingress', isDefault = false, created = '2026-01-01T00:00:00Z' } = {}) =>
  ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'IngressClass',
    metadata: {
      name,
      creationTimestamp: created,
      ...(isDefault ? { annotations: { 'ingressclass.kubernetes.io/is-default-class': 'true' } } : {}),
    },
    spec: { controller },
  }) as IngressClass;
const own = ingressClass('midship', { isDefault: true });

type Given = Partial<Omit<Ingress['metadata'], 'name'>>;
const ingress = (name: string, spec: IngressSpec, metadata: Given = {}): Ingress => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'Ingress',
  metadata: { name, namespace: 'shop', creationTimestamp: '2026-01-01T00:00:00Z', ...metadata },
  spec: { ingressClassName: 'midship', ...spec },
});
const backend = (name: string) => ({ service: { name, port: { number: 80 } } });
type PathType = 'Exact' | 'Prefix' | 'ImplementationSpecific';
/** `Prefix /a a`: a path and the Service behind it. */
const paths = (...all: string[]) => ({
  http: {
    paths: all.map((text) => {
      const [pathType = '', path = '', name = ''] = text.split(' ');
      return { pathType: pathType as PathType, path, backend: backend(name) };
    }),
  },
});

const tableOf = (...ingresses: Ingress[]) => buildRoutingTable(ingresses, [own]).table;
const serviceFor = (table: ReturnType<typeof tableOf>, host: string, path: string) =>
  findRoute(table, host, path)?.backend.service.replace('shop/', '');

describe('paths of a host', () => {
  // The table of examples in the documentation of Kubernetes, "Ingress".
  it.each([
    ['Prefix /', '/all/paths', true],
    ['Exact /foo', '/foo', true],
    ['Exact /foo', '/bar', false],
    ['Exact /foo', '/foo/', false],
    ['Exact /foo/', '/foo', false],
    ['Prefix /foo', '/foo', true],
    ['Prefix /foo', '/foo/', true],
    ['Prefix /foo/', '/foo', true],
    ['Prefix /foo/', '/foo/', true],
    ['Prefix /aaa/bb', '/aaa/bbb', false],
    ['Prefix /aaa/bbb', '/aaa/bbb', true],
    ['Prefix /aaa/bbb/', '/aaa/bbb', true],
    ['Prefix /aaa/bbb', '/aaa/bbb/', true],
    ['Prefix /aaa/bbb', '/aaa/bbb/ccc', true],
    ['Prefix /aaa/bbb', '/aaa/bbbxyz', false],
    ['Prefix /aaa', '/ccc', false],
    ['ImplementationSpecific /foo', '/foo/bar', true],
    ['ImplementationSpecific /foo', '/foobar', false],
  ])('%s against %s: %s', (rule, path, fits) => {
    const table = tableOf(ingress('a', { rules: [{ host: 'a.example', ...paths(`${rule} it`) }] }));
    expect(serviceFor(table, 'a.example', path)).toBe(fits ? 'it' : undefined);
  });

  it('go to the longest, and to an exact one before a prefix', () => {
    const table = tableOf(
      ingress('a', { rules: [{ host: 'a.example', ...paths('Prefix / root', 'Prefix /a a', 'Prefix /a/b ab', 'Exact /a/b exact') }] }),
    );
    expect(
      ['/', '/x', '/a', '/a/', '/a/c/d', '/a/b', '/a/b/', '/a/b/c', '/abc'].map((path) => serviceFor(table, 'a.example', path)),
    ).toEqual(['root', 'root', 'a', 'a', 'a', 'exact', 'ab', 'ab', 'root']);
  });

  it('cost no more for a path of many elements', () => {
    const table = tableOf(ingress('a', { rules: [{ host: 'a.example', ...paths('Prefix /a/b ab', 'Prefix / root') }] }));
    const startedAt = performance.now();
    expect(serviceFor(table, 'a.example', '/a'.repeat(500_000))).toBe('root');
    expect(performance.now() - startedAt).toBeLessThan(500);
  });

  it('are no regular expressions: such a path gets an Event and no requests', () => {
    const { table, problems } = buildRoutingTable(
      [ingress('a', { rules: [{ host: 'a.example', ...paths('ImplementationSpecific /a(/|$)(.*) it') }] })],
      [own],
    );
    expect(problems).toMatchObject([{ reason: 'PathNotSupported', ingress: { metadata: { name: 'a' } } }]);
    expect(findRoute(table, 'a.example', '/a')).toBeUndefined();
  });
});

describe('hosts', () => {
  const table = tableOf(
    ingress('a', {
      rules: [
        { host: 'a.example', ...paths('Prefix /only exact') },
        { host: '*.example', ...paths('Prefix / wild') },
        paths('Prefix / any'),
      ],
    }),
  );

  it('fit exactly before a wildcard, which is one label, and that before rules without a host', () => {
    expect(
      ['a.example', 'b.example', 'c.b.example', 'example', 'other.test', '', '10.0.0.1'].map((host) => serviceFor(table, host, '/only')),
    ).toEqual(['exact', 'wild', 'any', 'any', 'any', 'any', 'any']);
  });

  it('keep their requests: a path that no rule of the host fits does not go to another host', () => {
    expect(serviceFor(table, 'a.example', '/other')).toBeUndefined();
  });

  it('have a certificate by the same rules', () => {
    const entries = new Map([
      ['a.example', 1],
      ['*.example', 2],
      ['', 3],
    ]);
    expect(['a.example', 'b.example', 'c.b.example', ''].map((host) => lookUpHost(entries, host))).toEqual([1, 2, undefined, undefined]);
  });
});

describe('default backends', () => {
  it('get what no rule fits: that of the host first, then that of an Ingress without rules', () => {
    const table = tableOf(
      ingress('a', { defaultBackend: backend('own'), rules: [{ host: 'a.example', ...paths('Prefix /x x') }] }),
      ingress('b', { rules: [{ host: 'b.example', ...paths('Prefix /x x') }, { host: 'empty.example' }] }),
      ingress('c', { defaultBackend: backend('all') }),
    );
    const asked: [string, string][] = [
      ['a.example', '/x'],
      ['a.example', '/'],
      ['b.example', '/'],
      ['empty.example', '/'],
      ['c.test', '/'],
    ];
    expect(asked.map(([host, path]) => serviceFor(table, host, path))).toEqual(['x', 'own', 'all', 'all', 'all']);
  });

  it('cannot be objects of other kinds', () => {
    const resource = { apiGroup: 'k8s.example', kind: 'StorageBucket', name: 'static' };
    const { problems, table } = buildRoutingTable([ingress('a', { defaultBackend: { resource } })], [own]);
    expect(problems).toMatchObject([{ reason: 'ResourceBackendNotSupported', message: expect.stringContaining('StorageBucket static') }]);
    expect(findRoute(table, 'a.example', '/')).toBeUndefined();
  });
});

describe('conflicts', () => {
  it('are decided for the oldest Ingress, and the other one is named', () => {
    const rules = (name: string) => [{ host: 'a.example', ...paths(`Prefix /x ${name}`, `Exact /y ${name}`) }];
    const young = ingress('aaa', { rules: rules('young') }, { creationTimestamp: '2026-02-01T00:00:00Z' });
    const old = ingress('zzz', { rules: rules('old') });
    for (const order of [
      [young, old],
      [old, young],
    ]) {
      const { table, problems } = buildRoutingTable(order, [own]);
      expect([serviceFor(table, 'a.example', '/x'), serviceFor(table, 'a.example', '/y')]).toEqual(['old', 'old']);
      expect(problems.map(({ reason, ingress: about, message }) => [reason, about.metadata.name, message])).toEqual([
        ['Conflict', 'aaa', 'a.example/x (Prefix) is served for Ingress shop/zzz, which is older'],
        ['Conflict', 'aaa', 'a.example/y (Exact) is served for Ingress shop/zzz, which is older'],
      ]);
    }
  });

  it('within a second are decided by namespace and name', () => {
    const rules = (name: string) => [{ host: 'a.example', ...paths(`Prefix / ${name}`) }];
    expect(serviceFor(tableOf(ingress('b', { rules: rules('b') }), ingress('a', { rules: rules('a') })), 'a.example', '/')).toBe('a');
  });

  it('about the certificate of a host leave it to the oldest: another namespace cannot take it over', () => {
    const tls = (secretName: string) => ({ tls: [{ hosts: ['a.example'], secretName }], defaultBackend: backend('x') });
    const thief = ingress('a', tls('fake'), { namespace: 'evil', creationTimestamp: '2026-02-01T00:00:00Z' });
    const { table, problems } = buildRoutingTable([thief, ingress('b', tls('real'))], [own]);
    expect(table.certificates.get('a.example')).toMatchObject({ secret: 'shop/real' });
    expect(problems.filter(({ message }) => message.includes('certificate'))).toMatchObject([
      { ingress: { metadata: { namespace: 'evil' } } },
    ]);
  });
});

describe('TLS', () => {
  it('is on for the hosts it names, or those of the rules when it names none', () => {
    const table = tableOf(
      ingress('a', { tls: [{ secretName: 's' }, { hosts: ['*.wild.example'] }], rules: [{ host: 'A.example', ...paths('Prefix / x') }] }),
    );
    expect(table.certificates.get('a.example')).toMatchObject({ secret: 'shop/s' });
    expect(table.certificates.get('*.wild.example')).toMatchObject({ secret: undefined });
    expect(['a.example', 'x.wild.example', 'y.x.wild.example', 'b.example'].map((host) => hasTls(table, host))).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  it('brings a redirect, unless the annotation says no', () => {
    const spec = { rules: [{ host: 'a.example', ...paths('Prefix / x') }] };
    const redirects = (annotations: Record<string, string>) =>
      findRoute(tableOf(ingress('a', spec, { annotations })), 'a.example', '/')?.redirectsToTls;
    expect([redirects({}), redirects({ 'midship.dev/ssl-redirect': 'true' }), redirects({ 'midship.dev/ssl-redirect': 'false' })]).toEqual([
      true,
      true,
      false,
    ]);
  });
});

describe('classes', () => {
  const rules = [{ host: 'a.example', ...paths('Prefix / it') }];
  const isServed = (given: Ingress, classes: IngressClass[]): boolean =>
    findRoute(buildRoutingTable([given], classes).table, 'a.example', '/') !== undefined;
  const foreign = ingressClass('nginx', { controller: 'k8s.io/ingress-nginx' });
  const { ingressClassName: _, ...classless } = ingress('a', { rules }).spec;
  const unnamed = { ...ingress('a', { rules }), spec: classless };

  it('decide who serves: by field, by annotation, by default', () => {
    expect(isServed(ingress('a', { rules }), [own, foreign])).toBe(true);
    expect(isServed(ingress('a', { rules, ingressClassName: 'nginx' }), [own, foreign])).toBe(false);
    expect(isServed(ingress('a', { rules }), [foreign])).toBe(false);
    expect(
      isServed({ ...unnamed, metadata: { ...unnamed.metadata, annotations: { 'kubernetes.io/ingress.class': 'midship' } } }, [own]),
    ).toBe(true);
    expect(
      isServed({ ...unnamed, metadata: { ...unnamed.metadata, annotations: { 'kubernetes.io/ingress.class': 'nginx' } } }, [own, foreign]),
    ).toBe(false);
    expect(isServed(unnamed, [own])).toBe(true);
    expect(isServed(unnamed, [ingressClass('midship')])).toBe(false);
    expect(
      isServed(unnamed, [own, ingressClass('new', { controller: 'x.example/y', isDefault: true, created: '2026-03-01T00:00:00Z' })]),
    ).toBe(false);
  });

  it('may be several with the same controller', () => {
    expect(isServed(ingress('a', { rules, ingressClassName: 'internal' }), [own, ingressClass('internal')])).toBe(true);
  });

  it('do not matter any more for an Ingress that is being deleted', () => {
    expect(isServed(ingress('a', { rules }, { deletionTimestamp: '2026-01-02T00:00:00Z' }), [own])).toBe(false);
  });
});
