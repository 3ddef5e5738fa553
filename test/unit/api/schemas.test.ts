import { describe, expect, it } from 'vitest';
import { loadSchemas } from '../../../src/api/schemas.ts';
import { nameOfRef, resolveSchema, type Schema } from '../../../src/machinery/schema.ts';

const set = loadSchemas();
const core = 'io.k8s.api.core.v1';
const fieldOf = (type: string, field: string): Schema | undefined => set[type]?.properties?.[field];

describe('generated schemas', () => {
  it('refer only to types that are there', () => {
    const visit = (schema: Schema): void => {
      if (schema.$ref !== undefined) expect(set).toHaveProperty([nameOfRef(schema.$ref)]);
      for (const child of [schema.items, schema.additionalProperties, ...Object.values(schema.properties ?? {})]) {
        if (child !== undefined) visit(child);
      }
    };
    for (const schema of Object.values(set)) visit(schema);
  });

  it('have a type for every kind of the groups that are to be served, and for its list', () => {
    const kinds = new Set(
      Object.values(set).flatMap((schema) =>
        (schema['x-kubernetes-group-version-kind'] ?? []).map(({ group, version, kind }) => `${group}/${version} ${kind}`),
      ),
    );
    for (const kind of [
      '/v1 Pod',
      '/v1 PodList',
      'apps/v1 StatefulSet',
      'batch/v1 CronJob',
      'autoscaling/v1 Scale',
      'autoscaling/v2 HorizontalPodAutoscaler',
      'networking.k8s.io/v1 ServiceCIDR',
      'policy/v1 Eviction',
      'rbac.authorization.k8s.io/v1 ClusterRole',
      'storage.k8s.io/v1 VolumeAttributesClass',
      'scheduling.k8s.io/v1 PriorityClass',
      'coordination.k8s.io/v1 Lease',
      'discovery.k8s.io/v1 EndpointSliceList',
      'events.k8s.io/v1 Event',
      'node.k8s.io/v1 RuntimeClass',
      'apiextensions.k8s.io/v1 CustomResourceDefinition',
      'admissionregistration.k8s.io/v1 MutatingAdmissionPolicy',
      'certificates.k8s.io/v1 CertificateSigningRequest',
      'resource.k8s.io/v1 ResourceClaim',
      'apiregistration.k8s.io/v1 APIService',
      'authentication.k8s.io/v1 TokenRequest',
      'authorization.k8s.io/v1 SelfSubjectAccessReview',
      'flowcontrol.apiserver.k8s.io/v1 FlowSchema',
    ]) {
      expect(kinds).toContain(kind);
    }
  });

  it('carry merge keys, list types, defaults and enums', () => {
    expect(fieldOf(`${core}.Container`, 'ports')).toMatchObject({
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['containerPort', 'protocol'],
      'x-kubernetes-patch-merge-key': 'containerPort',
      'x-kubernetes-patch-strategy': 'merge',
    });
    expect(fieldOf(`${core}.ContainerPort`, 'protocol')).toMatchObject({ default: 'TCP', enum: ['SCTP', 'TCP', 'UDP'] });
    expect(fieldOf(`${core}.PodSpec`, 'volumes')).toMatchObject({ 'x-kubernetes-patch-strategy': 'merge,retainKeys' });
    expect(set[`${core}.PodSpec`]?.required).toEqual(['containers']);
    expect(fieldOf('io.k8s.api.apps.v1.RollingUpdateDeployment', 'maxSurge')).toMatchObject({
      $ref: '#/components/schemas/io.k8s.apimachinery.pkg.util.intstr.IntOrString',
    });
  });

  it('know fields that are newer than the sources in Go', () => {
    expect(fieldOf(`${core}.PodSpec`, 'hostnameOverride')).toMatchObject({ type: 'string' });
    expect(fieldOf(`${core}.PodStatus`, 'observedGeneration')).toMatchObject({ type: 'integer', format: 'int64' });
  });
});

describe('loadSchemas', () => {
  it('adds the types of kind files and refuses a second one of the same name', () => {
    const widget: Schema = { type: 'object' };
    const extended = loadSchemas([undefined, { 'example.Widget': widget }]);
    expect(resolveSchema(extended, { $ref: '#/components/schemas/example.Widget' })).toBe(widget);
    expect(() => loadSchemas([{ [`${core}.Pod`]: widget }])).toThrow('defined twice');
    expect(loadSchemas()).not.toHaveProperty(['example.Widget']);
  });
});
