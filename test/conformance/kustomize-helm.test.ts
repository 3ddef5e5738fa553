import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { mapBounded } from '../../src/base/concurrency.ts';
import { createHelm, type Helm } from '../../src/gitops/render/helm.ts';
import { chartFiles, filesBelow } from '../support/charts.ts';
import { findClientTools } from '../support/client-tools.ts';
import { run } from '../support/cluster.ts';
import {
  buildHere,
  buildWithKustomize,
  type Files,
  hasKustomize,
  type Outcome,
  shareOf,
  writeFiles,
  writeHelm3,
} from '../support/kustomize.ts';

const tools = hasKustomize ? await findClientTools() : 'kustomize is not installed: apt-get install kustomize';
const why = typeof tools === 'string' ? ` (skipped: ${tools})` : '';

const inline = '{text: inline, list: [7], map: {a: 10, z: 26}, fresh: {q: "1"}, more: null}';

const directory: Files = {
  ...filesBelow('charts/app', chartFiles),
  ...filesBelow('charts/app-1.2.3/app', { ...chartFiles, 'values.yaml': 'text: versioned\n' }),
  ...filesBelow('elsewhere/app', { ...chartFiles, 'values.yaml': 'text: elsewhere\n' }),
  ...filesBelow('charts/bare', {
    'Chart.yaml': 'apiVersion: v2\nname: bare\nversion: 1.0.0\n',
    'templates/app.yaml': chartFiles['templates/app.yaml'] ?? '',
    'templates/_n.tpl': chartFiles['templates/_names.tpl'] ?? '',
  }),
  'values.yaml': 'text: file\nlist: [9]\nmap: {c: 3}\n',
  'more.yaml': 'text: more\nextra: null\n',
  'types.yaml':
    'yes: y\nno: n\nb: yes\nc: on\nd: true\nint: 0x1f\nbig: 12345678901\nfloat: 1.50\ntiny: 1e-7\nnil: ~\nempty: {}\nnone: []\ntext: "007"\nblock: |\n  a\n  b\n',
  'documents.yaml': 'text: first\n---\ntext: second\n',
  'empty.yaml': '# nothing\n',
  'list.yaml': '[]\n',
  'one.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: r-app, namespace: default}\n',
};

/** Fields of one chart. */
const fields: Readonly<Record<string, string>> = {
  nothing: '',
  releaseName: 'releaseName: other.one-2',
  namespace: 'namespace: shop',
  version: 'version: 9.9.9',
  repo: 'repo: https://charts.invalid',
  'repo and version': 'repo: https://charts.invalid\n  version: 1.2.3',
  nameTemplate: 'nameTemplate: \'x-{{ "Y" | lower }}\'',
  valuesFile: 'valuesFile: values.yaml',
  additionalValuesFiles: 'additionalValuesFiles: [more.yaml, values.yaml]',
  'both kinds of values files': 'valuesFile: values.yaml\n  additionalValuesFiles: [more.yaml]',
  includeCRDs: 'includeCRDs: true',
  skipHooks: 'skipHooks: true',
  skipTests: 'skipTests: true',
  debug: 'debug: true',
  apiVersions: 'apiVersions: [example.com/v1, other.example.com/v1]',
  kubeVersion: 'kubeVersion: "1.20"',
  'values that look like options': 'namespace: --help',
  types: 'valuesFile: types.yaml',
  documents: 'valuesFile: documents.yaml',
  'an empty values file': 'valuesFile: empty.yaml',
  ...Object.fromEntries(
    ['', 'override', 'merge', 'replace'].flatMap((mode) => [
      [`valuesInline ${mode}`, `valuesInline: ${inline}${mode === '' ? '' : `\n  valuesMerge: ${mode}`}`],
      [
        `valuesInline and a file ${mode}`,
        `valuesFile: values.yaml\n  valuesInline: ${inline}${mode === '' ? '' : `\n  valuesMerge: ${mode}`}`,
      ],
      [
        `valuesInline and types ${mode}`,
        `valuesFile: types.yaml\n  valuesInline: {yes: 1, int: 1, empty: null, none: [1]}${mode === '' ? '' : `\n  valuesMerge: ${mode}`}`,
      ],
    ]),
  ),
  'valuesInline of all types':
    'valuesInline: {a: 1234567, b: 1e3, c: 12345678901, d: yes, e: "no", g: 1.0, h: 0x1f, i: -1.5, j: [a, null], k: {$patch: replace, x: 1}}',
  'valuesInline and documents': 'valuesFile: documents.yaml\n  valuesInline: {more: 1}',
};

const chartOf = (field: string): string =>
  `- name: app\n${field.includes('releaseName') || field.includes('nameTemplate') ? '' : '  releaseName: r\n'}${field === '' ? '' : `  ${field}\n`}`;

/** Whole kustomizations. */
const kustomizations: Readonly<Record<string, string>> = {
  ...Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, `helmCharts:\n${chartOf(field)}`])),
  'no release name': 'helmCharts:\n- name: app\n',
  'two charts': 'helmCharts:\n- {name: app, releaseName: b}\n- {name: app, releaseName: a, skipHooks: true}\n',
  'a chart without values of its own': 'helmCharts:\n- {name: bare, valuesInline: {text: a}, valuesMerge: replace}\n',
  chartHome: 'helmGlobals: {chartHome: elsewhere}\nhelmCharts:\n- {name: app, releaseName: r}\n',
  'chartHome with dots': 'helmGlobals: {chartHome: charts/../elsewhere/}\nhelmCharts:\n- {name: app, releaseName: r}\n',
  'helmGlobals alone': 'resources: [one.yaml]\nhelmGlobals: {chartHome: elsewhere}\n',
  'the older form': 'helmChartInflationGenerator:\n- {chartName: app, releaseName: r}\n',
  'the older form with all': `helmChartInflationGenerator:\n- {chartName: app, chartVersion: 9.9.9, releaseName: r, values: values.yaml, valuesLocal: ${inline}, valuesMerge: merge, chartHome: elsewhere, helmBin: x, releaseNamespace: shop, extraArgs: [--nonsense], chartRepoName: z}\n`,
  'the older form beside the newer':
    'helmCharts:\n- {name: app, releaseName: a}\nhelmChartInflationGenerator:\n- {chartName: app, releaseName: b, chartHome: elsewhere}\n',
  'the older form and helmGlobals':
    'helmGlobals: {chartHome: charts}\nhelmChartInflationGenerator:\n- {chartName: app, releaseName: b, chartHome: elsewhere}\n',
  'all the other fields': `namespace: web
namePrefix: p-
nameSuffix: -s
commonLabels: {team: a}
commonAnnotations: {note: b}
images: [{name: b, newTag: "2"}]
buildMetadata: [originAnnotations, managedByLabel]
configMapGenerator: [{name: settings, literals: [a=b]}]
patches:
- patch: '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "r-app"}, "spec": {"type": "NodePort"}}'
helmCharts:
- {name: app, releaseName: r}
`,
};

/** Input that both refuse, with our message. */
const mistakes: readonly (readonly [name: string, kustomization: string, message: string])[] = [
  ['no name', 'helmCharts:\n- releaseName: r\n', 'kustomization.yaml:2: helmCharts[0]: chart name cannot be empty'],
  [
    'a name that is a path',
    'helmCharts:\n- name: ../elsewhere/app\n',
    'kustomization.yaml:2: helmCharts[0]: "../elsewhere/app" is not the name of a chart',
  ],
  [
    'a field that is unknown',
    'helmCharts:\n- name: app\n  valueFile: a\n',
    'kustomization.yaml:3: helmCharts[0].valueFile: unknown field "valueFile"',
  ],
  [
    'valuesMerge',
    'helmCharts:\n- name: app\n  valuesMerge: other\n',
    'kustomization.yaml:3: helmCharts[0].valuesMerge: valuesMerge must be one of [merge override replace]',
  ],
  [
    'a chart that is not there',
    'helmCharts:\n- name: app\n- name: gone\n',
    "kustomization.yaml:3: helmCharts[1]: no repo specified for pull, no chart found at 'charts/gone'",
  ],
  ['a values file that is not there', 'helmCharts:\n- name: app\n  valuesFile: gone.yaml\n', "helmCharts[0]: 'gone.yaml' doesn't exist"],
  [
    'a values file above',
    'helmCharts:\n- name: app\n  valuesFile: ../values.yaml\n',
    "helmCharts[0]: security; file '../values.yaml' is not in or below '.'",
  ],
  [
    'an additional one that is not there',
    'helmCharts:\n- name: app\n  additionalValuesFiles: [gone.yaml]\n',
    "helmCharts[0]: 'gone.yaml' doesn't exist",
  ],
  [
    'an additional one above',
    'helmCharts:\n- name: app\n  additionalValuesFiles: [../values.yaml]\n',
    "security; file '../values.yaml' is not in or below '.'",
  ],
  ['no values of the chart', 'helmCharts:\n- name: bare\n', "helmCharts[0]: 'charts/bare/values.yaml' doesn't exist"],
  [
    'an empty values file under inline values',
    'helmCharts:\n- name: app\n  valuesFile: empty.yaml\n  valuesInline: {a: 1}\n',
    'could not parse values file into rnode: EOF',
  ],
  [
    'a values file that is a list',
    'helmCharts:\n- name: app\n  valuesFile: list.yaml\n  valuesInline: {a: 1}\n',
    'could not merge values: the values file is not a map',
  ],
  ['a values file that is a list, alone', 'helmCharts:\n- name: app\n  valuesFile: list.yaml\n', 'helm template: failed to parse'],
  [
    'values of two types',
    'helmCharts:\n- name: app\n  valuesInline: {text: {a: 1}}\n',
    'could not merge values: the patch has a map where the object has a scalar: text',
  ],
  ['a release name that is none', 'helmCharts:\n- name: app\n  releaseName: R_x\n', 'helmCharts[0]: invalid releaseName "R_x"'],
  ['a release name that is an option', 'helmCharts:\n- name: app\n  releaseName: --help\n', 'helmCharts[0]: invalid releaseName "--help"'],
  [
    'a release name and a template of one',
    'helmCharts:\n- {name: app, releaseName: r, nameTemplate: x}\n',
    'helm template: cannot set --name-template and also specify a name',
  ],
  ['a version of Kubernetes that is none', 'helmCharts:\n- {name: app, kubeVersion: latest}\n', 'helm template: invalid kube version'],
  [
    'one release twice',
    'helmCharts:\n- {name: app, releaseName: r}\n- {name: app, releaseName: r}\n',
    'kustomization.yaml:3: helmCharts[1]: id ConfigMap.v1.[noGrp]/r-app.default exists; behavior must be merge or replace',
  ],
  [
    'an object that is there already',
    'resources: [one.yaml]\nhelmCharts:\n- {name: app, releaseName: r}\n',
    'helmCharts[0]: id ConfigMap.v1.[noGrp]/r-app.default exists',
  ],
  [
    'merging into a chart',
    'configMapGenerator: [{name: r-app, namespace: default, behavior: merge, literals: [a=b]}]\nhelmCharts:\n- {name: app, releaseName: r}\n',
    'does not exist; cannot merge or replace',
  ],
  ['helmGlobals', 'helmGlobals: {home: a}\nresources: []\n', 'helmGlobals.home: unknown field "home"'],
];

/** The renderer against the real program (5.6, as Debian has it) with the same helm. */
describe.skipIf(typeof tools === 'string')(`kustomize build --enable-helm${why}`, () => {
  let root: string;
  let helm: Helm;
  let flags: readonly string[];

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'midship-charts-'));
    const command = typeof tools === 'string' ? '' : tools.helm;
    helm = createHelm({ command, repositories: [], environment: process.env, clock: systemClock });
    flags = ['--enable-helm', '--helm-command', await writeHelm3(root, command)];
  });

  afterAll(() => rm(root, { recursive: true, force: true }));

  async function both(name: string, files: Files, path = ''): Promise<{ readonly real: Outcome; readonly ours: Outcome }> {
    const place = join(root, name.replaceAll(/\W/g, '-'));
    await writeFiles(place, files);
    const [real, ours] = await Promise.all([buildWithKustomize(join(place, path), flags), buildHere(place, path, { helm })]);
    return { real, ours };
  }

  const both1 = (name: string, kustomization: string) => both(name, { ...directory, 'kustomization.yaml': kustomization });

  it('agrees on each field', { timeout: 180_000 }, async () => {
    const different: unknown[] = [];
    await mapBounded(shareOf(Object.entries(kustomizations), 3), 2, async ([name, kustomization]) => {
      const { real, ours } = await both1(name, kustomization);
      try {
        expect(real).toHaveProperty('objects');
        expect(ours).toEqual(real);
      } catch (err) {
        different.push({ name, real: 'error' in real && real.error, difference: err instanceof Error ? err.message.slice(0, 3_000) : err });
      }
    });
    expect(different).toEqual([]);
  });

  it('refuses the same mistakes', { timeout: 120_000 }, async () => {
    const wrong: unknown[] = [];
    await mapBounded(mistakes, 2, async ([name, kustomization, message]) => {
      const { real, ours } = await both1(`mistake ${name}`, kustomization);
      if ('error' in real && 'error' in ours && ours.error.includes(message)) return;
      wrong.push({ name, real, ours });
    });
    expect(wrong).toEqual([]);
  });

  it('agrees on a chart of a base, of a component, and above the kustomization', async () => {
    const files: Files = {
      ...filesBelow('base', { ...directory, 'kustomization.yaml': 'helmCharts:\n- {name: app, releaseName: r, skipHooks: true}\n' }),
      ...filesBelow('component', {
        ...directory,
        'kustomization.yaml':
          'kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nhelmCharts:\n- {name: app, releaseName: c, skipHooks: true}\n',
      }),
      'overlay/values.yaml': 'text: above\n',
      'overlay/kustomization.yaml':
        'namePrefix: o-\nresources: [../base]\ncomponents: [../component]\nhelmGlobals: {chartHome: ../base/charts}\nhelmCharts:\n- {name: app, releaseName: o, skipHooks: true, valuesFile: values.yaml}\n',
      'outside/kustomization.yaml': 'helmGlobals: {chartHome: ../base/charts}\nhelmCharts:\n- {name: app}\n',
    };
    const { real, ours } = await both('layers', files, 'overlay');
    expect(real).toHaveProperty('objects');
    expect(ours).toEqual(real);
    const outside = await both('layers', files, 'outside');
    expect(outside.real).toHaveProperty('error');
    expect(outside.ours).toEqual({
      error: expect.stringContaining("security; file '../base/charts/app/values.yaml' is not in or below 'outside'"),
    });
  });

  it('agrees on a chart that is fetched', async () => {
    const command = typeof tools === 'string' ? '' : tools.helm;
    const served = join(root, 'served');
    await writeFiles(root, filesBelow('packed/app', chartFiles));
    for (const args of [
      ['package', join(root, 'packed/app'), '-d', served],
      ['repo', 'index', served],
    ]) {
      expect(await run(command, args, { PATH: process.env.PATH, HOME: root })).toMatchObject({ code: 0 });
    }
    const server = createServer((request, response) => {
      readFile(join(served, (request.url ?? '').replaceAll('..', ''))).then(
        (content) => response.end(content),
        () => response.writeHead(404).end(),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const repo = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const fetching = createHelm({ command, repositories: [repo], environment: { PATH: process.env.PATH }, clock: systemClock });
      const kustomizationOf = (version: string, more: string): Files => ({
        'kustomization.yaml': `helmCharts:\n- {name: app, releaseName: r, repo: "${repo}", version: ${version}, ${more}}\n`,
      });
      for (const more of [
        'skipTests: true',
        'valuesInline: {text: inline, more: null}',
        'valuesInline: {text: inline}, valuesMerge: merge',
      ]) {
        const place = join(root, `fetched-${more.replaceAll(/\W/g, '-')}`);
        // The real program leaves the chart in the directory.
        await writeFiles(join(place, 'real'), kustomizationOf('1.2.3', more));
        await writeFiles(join(place, 'ours'), kustomizationOf('1.2.3', more));
        const real = await buildWithKustomize(join(place, 'real'), flags);
        const ours = await buildHere(join(place, 'ours'), '', { helm: fetching });
        expect(real).toHaveProperty('objects');
        expect(ours).toEqual(real);
        expect(await readdir(join(place, 'ours'))).toEqual(['kustomization.yaml']);
      }
      await writeFiles(join(root, 'gone'), kustomizationOf('9.9.9', 'skipTests: true'));
      expect(await buildWithKustomize(join(root, 'gone'), flags)).toHaveProperty('error');
      expect(await buildHere(join(root, 'gone'), '', { helm: fetching })).toEqual({
        error: expect.stringMatching(/helmCharts\[0\]: helm pull: .*9\.9\.9/),
      });
      expect(await buildHere(join(root, 'gone'), '', { helm })).toEqual({ error: expect.stringContaining('are not fetched') });
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  });

  it('shows templates nothing of this process and of this machine', async () => {
    const command = typeof tools === 'string' ? '' : tools.helm;
    const secretive = createHelm({
      command,
      repositories: [],
      environment: { PATH: process.env.PATH, MIDSHIP_TEST_SECRET: 'hidden' },
      clock: systemClock,
    });
    const place = join(root, 'curious');
    await writeFiles(place, {
      ...filesBelow('charts/app', {
        ...chartFiles,
        'templates/app.yaml': `apiVersion: v1
kind: ConfigMap
metadata: {name: curious}
data:
  above: {{ .Files.Get "../../kustomization.yaml" | quote }}
  passwords: {{ .Files.Get "/etc/passwd" | quote }}
  all: {{ range $name, $_ := .Files.Glob "**" }}{{ $name }} {{ end }}
  secrets: {{ lookup "v1" "Secret" "" "" | toJson | quote }}
  address: {{ getHostByName "localhost" | quote }}
  name: {{ .Release.Name }}
`,
      }),
      'kustomization.yaml': `helmCharts:\n- {name: app, skipHooks: true, nameTemplate: 'a{{ env "MIDSHIP_TEST_SECRET" }}{{ env "KUBECONFIG" | len }}'}\n`,
      'environment/kustomization.yaml':
        'helmGlobals: {chartHome: ../charts}\nhelmCharts:\n- {name: app, valuesMerge: replace, valuesInline: {a: 1}}\n',
    });
    const outcome = await buildHere(place, '', { helm: secretive });
    expect(outcome).toMatchObject({
      objects: [{ data: { above: '', passwords: '', secrets: '{}', address: '', name: `a${'/dev/null'.length}` } }],
    });
    await writeFiles(place, { 'charts/app/templates/app.yaml': 'a: {{ env "PATH" }}\n' });
    expect(await buildHere(place, '', { helm: secretive })).toEqual({ error: expect.stringContaining('function "env" not defined') });
  });
});
