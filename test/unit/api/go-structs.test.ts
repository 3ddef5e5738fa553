import { describe, expect, it } from 'vitest';
import { goStructDiff, goStructJson } from '../../../src/api/go-structs.ts';

describe('goStructJson', () => {
  it('prints every field under its Go name, in the order of the declaration', () => {
    expect(goStructJson('core/v1.PersistentVolumeClaimSpec', { accessModes: ['ReadWriteOnce'], volumeName: 'v' })).toBe(
      '{"AccessModes":["ReadWriteOnce"],"Selector":null,"Resources":{"Limits":null,"Requests":null},"VolumeName":"v","StorageClassName":null,"VolumeMode":null,"DataSource":null,"DataSourceRef":null,"VolumeAttributesClassName":null}',
    );
  });

  it('puts the fields of embedded structures, and metadata as it is sent, beside the others', () => {
    const text = goStructJson('core/v1.PodTemplateSpec', {
      metadata: { labels: { b: '2', '1': 'x' } },
      spec: { containers: [], hostNetwork: true, volumes: [{ name: 'v', emptyDir: {} }] },
    });
    expect(
      text.startsWith(
        '{"labels":{"1":"x","b":"2"},"Spec":{"Volumes":[{"Name":"v","HostPath":null,"EmptyDir":{"Medium":"","SizeLimit":null},',
      ),
    ).toBe(true);
    expect(text).toContain('"SecurityContext":{"HostNetwork":true,"HostPID":false,');
    expect(text).not.toContain('"HostNetwork":true,"ImagePullSecrets"');
  });

  it('escapes what Go escapes', () => {
    expect(goStructJson('rbac/v1.RoleRef', { apiGroup: 'g', kind: 'Role', name: '<&>' })).toBe(
      '{"APIGroup":"g","Kind":"Role","Name":"\\u003c\\u0026\\u003e"}',
    );
  });
});

it('goStructDiff shows the lines that differ', () => {
  expect(goStructDiff('rbac/v1.RoleRef', { apiGroup: 'g', kind: 'Role', name: 'a' }, { apiGroup: 'g', kind: 'Role', name: 'b' })).toBe(
    '@@ -1,5 +1,5 @@\n {\n  "APIGroup": "g",\n  "Kind": "Role",\n- "Name": "a"\n+ "Name": "b"\n }\n',
  );
});
