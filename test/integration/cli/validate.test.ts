import { writeFile } from 'node:fs/promises';
import { relative, resolve } from 'node:path';
import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { build } from '../../../src/cli/build.ts';
import { openEmptyApi } from '../../../src/cli/compose/empty-api.ts';
import { Failure } from '../../../src/cli/failure.ts';
import { validate } from '../../../src/cli/validate.ts';
import { newRepository, temporaryDirectory } from '../../support/git.ts';
import { type Files, writeFiles } from '../../support/kustomize.ts';

interface Result {
  readonly code: number;
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
  readonly notes: readonly string[];
  readonly apps: readonly string[];
}

interface Problem {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
  readonly message: string;
}

/** Files are named from the directory. */
async function check(files: Files, path = '', { strict = false, pullsNothing = false } = {}): Promise<Result> {
  const root = await temporaryDirectory('validate');
  await writeFiles(root, files);
  const chunks: string[] = [];
  const output = new Writable({ write: (chunk, _, done) => done(void chunks.push(String(chunk))) });
  const code = await validate({
    path: `${root}/${path}`,
    root,
    strict,
    output,
    format: 'json',
    pullsNothing: async () => pullsNothing,
    openApi: openEmptyApi,
  });
  const { errors, warnings, notes, apps } = JSON.parse(chunks.join('')) as {
    readonly errors: readonly Problem[];
    readonly warnings: readonly Problem[];
    readonly notes: readonly Problem[];
    readonly apps: readonly { readonly app: string; readonly objects: number }[];
  };
  const text = ({ file, line, column, message }: Problem): string => {
    const short = file === '' ? '' : relative(root, resolve(file));
    return `${[short, line, column].filter((part) => part !== undefined && part !== '').join(':')} ${message}`;
  };
  return {
    code,
    errors: errors.map(text),
    warnings: warnings.map(text),
    notes: notes.map(text),
    apps: apps.map(({ app, objects }) => `${app}: ${objects}`),
  };
}

const configMap = (name: string, namespace = 'web'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: ${namespace}}\ndata: {a: "1"}\n`;
const app = (name: string, path: string, more = ''): string =>
  `apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: ${name}, namespace: flux-system}\nspec:\n  interval: 1m\n  prune: true\n  path: ${path}\n  sourceRef: {kind: GitRepository, name: flux-system}\n${more}`;
const deployment = (more = ''): string =>
  `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: web}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - {name: web, image: host/node}\n${more}`;

describe('midship validate', () => {
  it('names a file whose name is not UTF-8, as the engine does', async () => {
    const root = await temporaryDirectory('names');
    await writeFile(Buffer.concat([Buffer.from(`${root}/caf`), Buffer.from([0xe9]), Buffer.from('.yaml')]), 'kind: x\n');
    const chunks: string[] = [];
    const output = new Writable({ write: (chunk, _, done) => done(void chunks.push(String(chunk))) });
    expect(
      await validate({ path: root, root, strict: false, output, format: 'text', pullsNothing: async () => false, openApi: openEmptyApi }),
    ).toBe(1);
    expect(chunks.join('')).toContain('caf\\xe9.yaml has a name that is not UTF-8');
    await expect(build({ path: root, output })).rejects.toMatchObject({
      message: 'caf\\xe9.yaml has a name that is not UTF-8',
      exitCode: 1,
    });
  });

  it('looks at the clusters of a repository one by one, since their apps have the same names', async () => {
    const files = {
      'clusters/staging/apps.yaml': app('web', './apps/web'),
      'clusters/production/apps.yaml': `${app('web', './apps/web', '  namePrefix: x-\n')}---\n${app('db', './apps/db')}`,
      'apps/web/a.yaml': configMap('a'),
      'apps/db/b.yaml': configMap('b'),
      'apps/old/c.yaml': configMap('c'),
    };
    expect(await check(files)).toEqual({
      code: 0,
      errors: [],
      warnings: ['apps/old/c.yaml is not part of any app'],
      notes: [],
      apps: ['clusters/production: 2', 'flux-system/web: 1', 'flux-system/db: 1', 'clusters/staging: 1', 'flux-system/web: 1'],
    });
    // Within one cluster the name is taken, and an error in either cluster is one.
    const twice = {
      ...files,
      'clusters/staging/more.yaml': app('web', './apps/db'),
      'apps/db/b.yaml': 'apiVersion: v1\nkind: ConfigMapp\n',
    };
    expect((await check(twice)).errors.map((error) => error.replace(/ .*/, ''))).toEqual([
      'apps/db/b.yaml:1',
      'clusters/staging/more.yaml:1',
    ]);
  });

  it('accepts a directory, the apps that it lists, and objects whose namespace comes with them', async () => {
    const files = {
      'clusters/home/apps.yaml': `${app('web', './apps/web')}---\n${app('db', './apps/db', '  dependsOn: [{name: web}]\n')}`,
      'apps/web/a.yaml': configMap('a', 'fresh'),
      'apps/web/ns.yaml': 'apiVersion: v1\nkind: Namespace\nmetadata: {name: fresh}\n',
      'apps/db/kustomization.yaml': 'namePrefix: x-\nresources: [d.yaml]\n',
      'apps/db/d.yaml': deployment(),
    };
    expect(await check(files, 'clusters/home')).toEqual({
      code: 0,
      errors: [],
      warnings: [],
      notes: [],
      apps: ['clusters/home: 2', 'flux-system/web: 2', 'flux-system/db: 1'],
    });
    // The list that `flux bootstrap` commits as an object is this list itself.
    const sync = `apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: flux-system, namespace: flux-system}\nspec: {interval: 1m, url: ssh://git@github.com/me/home}\n---\n${app('flux-system', './clusters/home')}`;
    expect(await check({ ...files, 'clusters/home/flux-system/gotk-sync.yaml': sync }, 'clusters/home')).toEqual({
      code: 0,
      errors: [],
      warnings: [],
      notes: [],
      apps: ['clusters/home: 4', 'flux-system/web: 2', 'flux-system/db: 1'],
    });
    // For the root: objects that an app builds belong to that app, and the rest has no owner.
    expect(await check({ ...files, 'loose/x.yaml': configMap('x') })).toMatchObject({
      code: 0,
      warnings: ['loose/x.yaml is not part of any app'],
      apps: ['.: 2', 'flux-system/web: 2', 'flux-system/db: 1'],
    });
  });

  it('names every error with file, line and column, each once', async () => {
    const { code, errors } = await check({
      'a.yaml': configMap('a').replace('\ndata:', '\ndate:'),
      'b.yaml': deployment().replace('replicas: 1', 'replicas: -1'),
      'c.yaml': 'a: [b\n',
      'd.yaml': 'apiVersion: apps/v2\nkind: Deployment\nmetadata: {name: d}\n',
      'e.yaml': configMap('same'),
      'f.yaml': configMap('same'),
    });
    expect(code).toBe(1);
    expect(errors).toEqual([
      'a.yaml:4:1 ConfigMap web/a: unknown field "date"',
      'b.yaml:5:3 Deployment web/web: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
      expect.stringMatching(/^c\.yaml:\d+:\d+ /),
      'd.yaml:1 the cluster has no kind Deployment in apps/v2',
      'f.yaml:1 defines ConfigMap web/same, which e.yaml:1 defines too',
    ]);
  });

  it('finds what goes wrong between apps: paths, circles, one object in two apps', async () => {
    const { errors, warnings, code } = await check(
      {
        'clusters/apps.yaml': [
          app('gone', './nowhere'),
          app('a', './a', '  dependsOn: [{name: b}]\n'),
          app('b', './b', '  dependsOn: [{name: a}, {name: other}]\n'),
        ].join('---\n'),
        'a/x.yaml': configMap('x'),
        'b/x.yaml': configMap('x'),
      },
      'clusters',
    );
    expect(code).toBe(1);
    expect(errors).toEqual([
      'b/x.yaml:1 defines ConfigMap web/x in app flux-system/b, which app flux-system/a defines in a/x.yaml:1',
      'clusters/apps.yaml:1 spec.path: nowhere is not a directory of the repository',
      expect.stringMatching(/^clusters\/apps\.yaml:\d+ spec\.dependsOn has a cycle: flux-system\/a → flux-system\/b → flux-system\/a$/),
    ]);
    expect(warnings).toEqual([expect.stringContaining('spec.dependsOn: app flux-system/other is not among the files')]);
  });

  it('warns of what only the cluster can tell, and takes that for an error when asked to', async () => {
    const files = {
      'a.yaml': deployment('        envFrom: [{configMapRef: {name: settings}}]\n').replace(
        '- {name: web, image: host/node}',
        '- name: web\n        image: host/node',
      ),
      'b.yaml': 'apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, namespace: web}\n',
      'c.yaml': 'apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: c, namespace: web}\n',
      'd.yaml': 'apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: d, namespace: argocd}\n',
    };
    expect(await check(files)).toMatchObject({
      code: 0,
      warnings: [
        'a.yaml:1 Deployment web/web: ConfigMap web/settings is not among the files',
        'b.yaml:1 Widget of example.com/v1 was not checked: its CustomResourceDefinition is not among the files',
        'c.yaml:1 not supported: HelmRelease in helm.toolkit.fluxcd.io/v2, unless its controller runs in the cluster',
        'd.yaml:1 not supported: Application in argoproj.io/v1alpha1, unless its controller runs in the cluster',
      ],
    });
    expect((await check(files, '', { strict: true })).code).toBe(1);
  });

  it('warns of a Service that an Ingress names and no file defines, once', async () => {
    const backend = (name: string): string => `backend: {service: {name: ${name}, port: {number: 80}}}`;
    const paths = ['web', 'gone', 'gone'].map((name) => `{path: /, pathType: Prefix, ${backend(name)}}`).join(', ');
    const ingress = `apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i, namespace: web}\nspec:\n  defaultB${backend('fallback').slice(1)}\n  rules: [{http: {paths: [${paths}]}}, {host: a.example}]\n`;
    const files = {
      'a.yaml': ingress,
      'b.yaml': 'apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: web}\nspec: {ports: [{port: 80}]}\n',
    };
    expect(await check(files)).toMatchObject({
      code: 0,
      errors: [],
      warnings: [
        'a.yaml:1 Ingress web/i: Service web/fallback is not among the files',
        'a.yaml:1 Ingress web/i: Service web/gone is not among the files',
      ],
    });
  });

  it('accepts a bare pod, and what the cluster puts into each namespace', async () => {
    const pod = (name: string, more: string): string =>
      `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, namespace: web}\nspec:\n  containers: [{name: a, image: host/node}]\n${more}`;
    const files = {
      'a.yaml': pod('a', '  volumes: [{name: ca, configMap: {name: kube-root-ca.crt}}]\n'),
      'b.yaml': pod('b', '  serviceAccountName: made\n'),
      'c.yaml': pod('c', '  serviceAccountName: elsewhere\n'),
      'd.yaml': 'apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: made, namespace: web}\n',
    };
    expect(await check(files)).toMatchObject({
      code: 0,
      errors: [],
      warnings: ['c.yaml:1 Pod web/c: ServiceAccount web/elsewhere is not among the files'],
    });
  });

  it('warns of a source that no file defines and no start makes', async () => {
    const source =
      'apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: fleet, namespace: flux-system}\nspec: {interval: 1m, url: https://example.com/fleet.git}\n';
    const of = (name: string, more = ''): string => app('web', './apps').replace('name: flux-system}\n', `name: ${name}${more}}\n`);
    const warnings = async (list: string) => {
      const result = await check({ 'clusters/apps.yaml': list, 'apps/a.yaml': configMap('a') }, 'clusters');
      expect(result).toMatchObject({ code: 0, errors: [] });
      return result.warnings;
    };
    expect(await warnings(`${of('flet')}---\n${source}`)).toEqual([
      'clusters/apps.yaml:1 spec.sourceRef: GitRepository flux-system/flet is not among the files',
    ]);
    expect(await warnings(`${of('fleet')}---\n${source}`)).toEqual([]);
    expect(await warnings(of('flux-system', ', namespace: infra'))).toEqual([
      'clusters/apps.yaml:1 spec.sourceRef: GitRepository infra/flux-system is not among the files',
    ]);
  });

  it('notes images that the running cluster cannot run, and passes also when warnings are errors', async () => {
    const files = {
      'a.yaml': deployment('      initContainers: [{name: wait, image: host/sleep}]\n').replace('image: host/node', 'image: "nginx:1.27"'),
      'b.yaml': deployment('      runtimeClassName: containerd\n').replace('host/node', 'redis').replaceAll('name: web,', 'name: other,'),
    };
    const strict = true;
    expect(await check(files, '', { strict, pullsNothing: true })).toMatchObject({
      code: 0,
      notes: [
        'a.yaml:1 Deployment web/web: the running cluster cannot run image nginx:1.27 of container web: its nodes run programs of the machine, as host/NAME',
      ],
    });
    expect((await check(files, '', { strict })).notes).toEqual([]);
  });

  it('warns of a namespace that is spelled like one among the files, once', async () => {
    const files = {
      'ns.yaml': 'apiVersion: v1\nkind: Namespace\nmetadata: {name: staging}\n',
      'a.yaml': configMap('a', 'stagin'),
      'b.yaml': configMap('b', 'stagin'),
      'c.yaml': configMap('c', 'staging'),
      'd.yaml': configMap('d', 'elsewhere'),
    };
    expect(await check(files)).toMatchObject({
      code: 0,
      errors: [],
      warnings: ['a.yaml:1 ConfigMap stagin/a: namespace "stagin" is not among the files'],
    });
  });

  it('names manifests in JSON and submodules, which no app reads', async () => {
    const object = JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'j' } });
    const files = {
      'clusters/home/apps.yaml': `${app('web', './apps/web')}---\n${app('db', './apps/db')}`,
      'apps/web/a.yaml': configMap('a'),
      'apps/web/deep/object.json': object,
      'apps/web/deep/dashboard.json': '{"panels": [], "kind": "x"}',
      'apps/web/deep/broken.json': '{',
      'apps/web/vendor/.git': 'gitdir: ../../../.git/modules/vendor\n',
      // A kustomization says itself what is read.
      'apps/db/kustomization.yaml': 'namespace: web\nresources: [object.json]\n',
      'apps/db/object.json': object,
      'apps/db/other.json': object,
      'other.json': object,
    };
    const warnings = [
      'apps/web/deep/object.json is a manifest in JSON, which is not read',
      'apps/web/vendor is a submodule, which an app reads only when its GitRepository has spec.recurseSubmodules',
    ];
    for (const path of ['', 'clusters/home']) expect(await check(files, path)).toMatchObject({ code: 0, errors: [], warnings });
  });

  it('knows the bases and components that apps are built from', async () => {
    const files = {
      'clusters/home/apps.yaml': app('shop', './apps/shop/production'),
      'apps/shop/base/kustomization.yaml': 'resources: [a.yaml]\nconfigMapGenerator: [{name: made, literals: [a=b]}]\n',
      'apps/shop/base/a.yaml': configMap('a'),
      'apps/shop/production/kustomization.yaml': 'resources: [../base]\ncomponents: [../../../components/note]\n',
      'components/note/kustomization.yaml': 'apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncommonAnnotations: {a: b}\n',
    };
    expect(await check(files, '', { strict: true })).toMatchObject({ code: 0, errors: [], warnings: [] });
    expect(
      await check(
        { ...files, 'apps/other/base/kustomization.yaml': 'resources: [b.yaml]\n', 'apps/other/base/b.yaml': configMap('b') },
        '',
        { strict: true },
      ),
    ).toMatchObject({
      code: 1,
      warnings: ['apps/other/base/b.yaml is not part of any app'],
    });
  });

  it('checks custom resources against the definition among the files', async () => {
    const definition = {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: 'boats.example.com' },
      spec: {
        group: 'example.com',
        names: { kind: 'Boat', plural: 'boats', singular: 'boat', listKind: 'BoatList' },
        scope: 'Namespaced',
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: {
              openAPIV3Schema: {
                type: 'object',
                properties: { spec: { type: 'object', properties: { sails: { type: 'integer', minimum: 1 } } } },
              },
            },
          },
        ],
      },
    };
    const boat = (sails: number): string =>
      `apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: a, namespace: web}\nspec:\n  sails: ${sails}\n`;
    const files = { 'crd.yaml': JSON.stringify(definition), 'boat.yaml': boat(2) };
    expect(await check(files)).toMatchObject({ code: 0, errors: [], warnings: [] });
    expect(await check({ ...files, 'boat.yaml': boat(0) })).toMatchObject({
      code: 1,
      errors: [expect.stringMatching(/^boat\.yaml:5:3 Boat web\/a: spec\.sails: .*greater than or equal to 1/)],
    });
  });

  it('waits until a large definition is served before it tries objects of its kind', async () => {
    const text = { type: 'string', description: 'as long as operators write it, for each field of theirs. '.repeat(4) };
    const properties = Object.fromEntries(Array.from({ length: 2_000 }, (_, index) => [`field${index}`, text]));
    const definition = (name: string) => ({
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `${name}s.example.com` },
      spec: {
        group: 'example.com',
        names: { kind: name, plural: `${name}s`, singular: name, listKind: `${name}List` },
        scope: 'Namespaced',
        versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object', properties } } }],
      },
    });
    const files = Object.fromEntries(
      ['a', 'b', 'c'].flatMap((name) => [
        [`${name}.yaml`, JSON.stringify(definition(name))],
        [`one-${name}.yaml`, `apiVersion: example.com/v1\nkind: ${name}\nmetadata: {name: x, namespace: web}\nfield0: text\n`],
      ]),
    );
    expect(await check(files)).toMatchObject({ code: 0, errors: [], warnings: [] });
  });

  it('leaves out what git ignores, unless it is what is asked for', async () => {
    const { directory } = await newRepository('validate-ignored', {
      '.gitignore': 'node_modules/\n*.local.yaml\n',
      'apps/a.yaml': configMap('a', 'default'),
    });
    await writeFiles(directory, { 'apps/b.local.yaml': 'no: manifest\n', 'node_modules/x/c.yaml': 'kind: [\n' });
    const run = async (path: string): Promise<{ readonly code: number; readonly text: string }> => {
      const chunks: string[] = [];
      const output = new Writable({ write: (chunk, _, done) => done(void chunks.push(String(chunk))) });
      const code = await validate({
        path: `${directory}${path}`,
        root: undefined,
        strict: false,
        output,
        format: 'text',
        pullsNothing: async () => false,
        openApi: openEmptyApi,
      });
      return { code, text: chunks.join('') };
    };
    expect(await run('')).toEqual({ code: 0, text: expect.stringMatching(/1 object in 1 app can be applied/) });
    expect((await run('/node_modules/x')).code).toBe(1);
  });

  it('does not leave the directory', async () => {
    const { code, errors } = await check({ 'apps.yaml': app('out', '../../etc') });
    expect(code).toBe(1);
    expect(errors[0]).toContain('spec.path: .. is not a directory of the repository');
    const output = new Writable({ write: (_chunk, _, done) => done() });
    const path = `${await temporaryDirectory('gone')}/gone`;
    const missing = validate({
      path,
      root: undefined,
      strict: false,
      output,
      format: 'text',
      pullsNothing: async () => false,
      openApi: openEmptyApi,
    });
    await expect(missing).rejects.toBeInstanceOf(Failure);
  });
});
