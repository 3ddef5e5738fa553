import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { hasKubectl, kubectlSteps } from '../../support/kubectl.ts';
import { until } from '../../support/until.ts';

const definitionYaml = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    selectableFields: [{jsonPath: .spec.color}]
    schema:
      openAPIV3Schema:
        type: object
        description: A thing that has a size.
        properties:
          spec:
            type: object
            description: What is wanted of it.
            required: [size]
            properties:
              size: {type: integer, minimum: 1, description: How large it is.}
              color: {type: string, enum: [red, blue], default: red}
              replicas: {type: integer, default: 1}
              port: {x-kubernetes-int-or-string: true}
              list:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [k]
                items: {type: object, required: [k], properties: {k: {type: string}, v: {type: string}}}
            x-kubernetes-validations:
            - {rule: self.size < 100, message: size must be below 100}
          status:
            type: object
            properties:
              replicas: {type: integer}
              selector: {type: string}
              conditions:
                type: array
                items: {type: object, required: [type, status], properties: {type: {type: string}, status: {type: string}}}
`;

const widgetYaml = (name: string, spec: string): string =>
  `apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: ${name}, labels: {app: ${name}}}\nspec: ${spec}\n`;

describe.skipIf(!hasKubectl)('custom resources under an unmodified kubectl (needs kubectl)', { shuffle: false }, () => {
  let cluster: TestApiServer;

  const { ok, refused, file } = kubectlSteps(() => cluster);

  beforeAll(async () => {
    cluster = await startTestApiServer();
  });
  afterAll(() => cluster.stop());

  it('are known as soon as their definition is established', async () => {
    expect(await ok('apply', '-f', await file('crd.yaml', definitionYaml))).toBe(
      'customresourcedefinition.apiextensions.k8s.io/widgets.example.com created\n',
    );
    await ok('wait', '--for=condition=established', '--timeout=30s', 'crd/widgets.example.com');
    expect(await ok('api-resources', '--api-group=example.com')).toMatch(/widgets\s+wd\s+example.com\/v1\s+true\s+Widget/);
    expect(await ok('apply', '-f', join(cluster.directory, 'crd.yaml'))).toContain('unchanged');
    expect(await ok('get', 'crd')).toMatch(/NAME\s+CREATED AT\nwidgets.example.com\s+20/);
  });

  it('are explained', async () => {
    const text = await ok('explain', 'widget.spec');
    expect(text).toContain('What is wanted of it.');
    expect(text).toMatch(/size\s+<integer> -required-/);
    expect(await ok('explain', 'wd.spec.list', '--recursive')).toMatch(/k\s+<string> -required-/);
  });

  it('are applied by the client and by the server, patched, labelled, replaced and scaled', async () => {
    const path = await file('widget.yaml', widgetYaml('one', '{size: 3, port: http, list: [{k: a, v: "1"}]}'));
    expect(await ok('apply', '-f', path)).toBe('widget.example.com/one created\n');
    expect(await ok('apply', '-f', path)).toBe('widget.example.com/one unchanged\n');
    await file('widget.yaml', widgetYaml('one', '{size: 4, port: 80, list: [{k: a, v: "2"}]}'));
    expect(await ok('apply', '-f', path)).toBe('widget.example.com/one configured\n');
    expect(await ok('diff', '-f', path)).toBe('');
    const other = await file('two.yaml', widgetYaml('two', '{size: 1, color: blue}'));
    expect(await ok('apply', '--server-side', '-f', other)).toBe('widget.example.com/two serverside-applied\n');
    expect(await ok('patch', 'widget', 'one', '--type=merge', '-p', '{"spec":{"size":5}}')).toBe('widget.example.com/one patched\n');
    expect(await ok('patch', 'widget', 'one', '--type=json', '-p', '[{"op":"replace","path":"/spec/size","value":6}]')).toContain(
      'patched',
    );
    expect(await refused('patch', 'widget', 'one', '--type=strategic', '-p', '{"spec":{"size":7}}')).toContain(
      'application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml',
    );
    expect(await ok('label', 'widget', 'one', 'tier=front')).toBe('widget.example.com/one labeled\n');
    expect(await ok('scale', 'widget', 'one', '--replicas=7')).toBe('widget.example.com/one scaled\n');
    expect(await ok('get', 'widget', 'one', '-o', 'jsonpath={.spec.replicas} {.spec.size} {.metadata.generation}')).toBe('7 6 5');
    expect(
      await ok(
        'patch',
        'widget',
        'one',
        '--subresource=status',
        '--type=merge',
        '-p',
        '{"status":{"replicas":7,"selector":"app=one","conditions":[{"type":"Ready","status":"True"}]}}',
      ),
    ).toContain('patched');
    await ok('wait', '--for=condition=ready', '--timeout=30s', 'widget/one');
  });

  it('are shown in the columns of their definition, and selected by its fields', async () => {
    expect(await ok('get', 'wd', 'one')).toMatch(/NAME\s+SIZE\s+READY\s+AGE\none\s+6\s+True\s+\d+s/);
    expect(await ok('get', 'widgets.v1.example.com', '-o', 'name', '--field-selector=spec.color=blue')).toBe('widget.example.com/two\n');
    expect(await ok('get', 'all', '-l', 'app=one')).toContain('widget.example.com/one');
    expect(await ok('describe', 'widget', 'one')).toMatch(/Spec:\n(.*\n)*\s+Size:\s+6/);
    expect(await ok('get', 'widget', 'one', '-o', 'yaml')).toContain('apiVersion: example.com/v1');
  });

  it('are refused when they break their schema or its rules', async () => {
    expect(await refused('apply', '-f', await file('bad.yaml', widgetYaml('bad', '{size: 0, color: green}')))).toContain(
      'spec.color: Unsupported value: "green": supported values: "red", "blue"',
    );
    expect(await refused('apply', '-f', await file('bad.yaml', widgetYaml('bad', '{size: 100}')))).toContain('size must be below 100');
    expect(await refused('apply', '-f', await file('bad.yaml', widgetYaml('bad', '{size: 1, junk: 1}')))).toContain(
      'unknown field "spec.junk"',
    );
  });

  it('go one by one, and with their definition', async () => {
    expect(await ok('delete', 'widget', 'two')).toBe('widget.example.com "two" deleted\n');
    expect(await ok('delete', 'crd', 'widgets.example.com')).toContain('"widgets.example.com" deleted\n');
    await until(async () => (await cluster.kubectl('get', 'widgets')).code !== 0, { what: 'widgets are no longer served' });
    expect(await refused('get', '--raw', '/apis/example.com/v1')).toContain('could not find the requested resource');
    // A definition that comes back under the same name starts empty.
    await ok('apply', '-f', join(cluster.directory, 'crd.yaml'));
    await ok('wait', '--for=condition=established', '--timeout=30s', 'crd/widgets.example.com');
    expect(await ok('get', 'widgets', '-A', '-o', 'name')).toBe('');
  });
});
