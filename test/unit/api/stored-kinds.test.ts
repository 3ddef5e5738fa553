import { describe, expect, it } from 'vitest';
import { daemonSets } from '../../../src/api/apps/v1/daemon-set.ts';
import { type HorizontalPodAutoscaler, horizontalPodAutoscalers } from '../../../src/api/autoscaling/v2/horizontal-pod-autoscaler.ts';
import { cronJobs } from '../../../src/api/batch/v1/cron-job.ts';
import {
  type CertificateSigningRequest,
  certificateSigningRequests,
} from '../../../src/api/certificates/v1/certificate-signing-request.ts';
import { limitRanges } from '../../../src/api/core/v1/limit-range.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { ingresses } from '../../../src/api/networking/v1/ingress.ts';
import { priorityClasses } from '../../../src/api/scheduling/v1/priority-class.ts';
import type { KubeObject } from '../../../src/machinery/object.ts';
import { writeContext } from '../../support/write-context.ts';

const object = <T extends KubeObject>(fields: object): T =>
  ({ apiVersion: 'v1', kind: 'X', metadata: { name: 'x', namespace: 'default', uid: 'u' }, ...fields }) as unknown as T;
const messages = (errors: readonly { readonly field: string; readonly message: string }[] | undefined): readonly string[] =>
  (errors ?? []).map(({ field, message }) => `${field}: ${message}`);

describe('claims', () => {
  const bound = object<PersistentVolumeClaim>({
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '2Gi' } }, volumeName: 'v' },
    status: { phase: 'Bound', capacity: { storage: '2Gi' }, accessModes: ['ReadWriteOnce'] },
  });
  const asking = (storage: string) => ({ ...bound, spec: { ...bound.spec, resources: { requests: { storage } } } });

  it('may grow once they are bound, and neither shrink nor change otherwise', () => {
    expect(persistentVolumeClaims.validate?.(asking('3Gi'), bound)).toEqual([]);
    expect(messages(persistentVolumeClaims.validate?.(asking('1Gi'), bound))).toEqual([
      'spec.resources.requests.storage: Forbidden: field can not be less than status.capacity',
    ]);
    const moved = { ...bound, spec: { ...bound.spec, volumeName: 'w' } };
    expect(persistentVolumeClaims.validate?.(moved, bound)).toHaveLength(1);
  });

  it('show capacity and modes when they are bound', () => {
    const cells = persistentVolumeClaims.columns.map((column) => column.cell(bound, { now: 0 }));
    expect(cells.slice(1, 5)).toEqual(['Bound', 'v', '2Gi', 'RWO']);
  });
});

describe('certificate requests', () => {
  const stored = object<CertificateSigningRequest>({ spec: { signerName: 'a.example/s' }, status: {} });
  const approved = { type: 'Approved', status: 'True', reason: 'Ok' } as const;

  it('say who asked, whatever the client says', () => {
    const given = { ...stored, spec: { ...stored.spec, username: 'mallory', groups: ['system:masters'] } };
    const created = certificateSigningRequests.prepareForCreate?.(given as CertificateSigningRequest, writeContext);
    expect(created?.spec).toMatchObject({ username: 'admin', uid: 'u-admin' });
  });

  it('are decided through approval alone, and certificates come through status alone', () => {
    const wanted = { ...stored, status: { conditions: [approved], certificate: 'AAAA' } } as CertificateSigningRequest;
    const write = (subresource: string) => certificateSigningRequests.prepareForStatus?.(wanted, stored, { ...writeContext, subresource });
    expect(write('approval')?.status).toEqual({
      conditions: [{ ...approved, lastUpdateTime: writeContext.now, lastTransitionTime: writeContext.now }],
    });
    const errors = (subresource: string) =>
      messages(certificateSigningRequests.validateStatus?.(write(subresource) ?? stored, stored, subresource));
    expect(errors('approval')).toEqual([]);
    expect(errors('status')).toEqual([
      'status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block',
      'status.conditions: Forbidden: updates may not add a condition of type "Approved"',
    ]);
  });
});

describe('decisions on certificate requests', () => {
  it('say whether they hold: a condition without a status is none', () => {
    const stored = object<CertificateSigningRequest>({ spec: { signerName: 'a.example/s' }, status: {} });
    const wanted = { ...stored, status: { conditions: [{ type: 'Approved', reason: 'Ok' }] } } as unknown as CertificateSigningRequest;
    const written = certificateSigningRequests.prepareForStatus?.(wanted, stored, { ...writeContext, subresource: 'approval' }) ?? stored;
    expect(messages(certificateSigningRequests.validateStatus?.(written, stored, 'approval'))).toEqual([
      'status.conditions[0].status: Required value',
    ]);
  });
});

describe('defaults and rules', () => {
  it('a limit defaults to the most, a request to the limit', () => {
    const range = limitRanges.defaults?.(object({ spec: { limits: [{ type: 'Container', max: { cpu: '2' }, min: { memory: '1Mi' } }] } }));
    expect(range?.spec?.limits[0]).toMatchObject({ default: { cpu: '2' }, defaultRequest: { cpu: '2', memory: '1Mi' } });
  });

  it('an autoscaler that names one direction of scaling gets the rest of it', () => {
    const spec = { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' }, maxReplicas: 3 };
    const given = object<HorizontalPodAutoscaler>({ spec: { ...spec, behavior: { scaleUp: { selectPolicy: 'Min' } } } });
    const complete = horizontalPodAutoscalers.defaults?.(given);
    expect(complete?.spec.behavior?.scaleUp).toMatchObject({ selectPolicy: 'Min', stabilizationWindowSeconds: 0 });
    expect(complete?.spec.behavior?.scaleDown).toEqual({
      selectPolicy: 'Max',
      policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }],
    });
  });

  it('template generations of DaemonSets count changes of the template', () => {
    const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'x:1' }] } };
    const set = daemonSets.prepareForCreate?.(object({ spec: { selector: { matchLabels: { a: 'b' } }, template } }), writeContext);
    if (set === undefined) throw new Error('no DaemonSet');
    const generation = (next: typeof set) => next.metadata.annotations?.['deprecated.daemonset.template.generation'];
    expect(generation(set)).toBe('1');
    const changed = { ...set, spec: { ...set.spec, template: { ...template, metadata: { labels: { a: 'b', c: 'd' } } } } };
    expect(generation(daemonSets.prepareForUpdate?.(changed, set) ?? set)).toBe('2');
    expect(generation(daemonSets.prepareForUpdate?.({ ...set }, set) ?? changed)).toBe('1');
  });

  it('a CronJob needs a schedule and a zone that exist', () => {
    const spec = { concurrencyPolicy: 'Allow', jobTemplate: { spec: { template: { spec: { containers: [], restartPolicy: 'Never' } } } } };
    const errors = messages(cronJobs.validate?.(object({ spec: { ...spec, schedule: 'TZ=UTC * * * * *', timeZone: 'Local' } })));
    expect(errors).toContain(
      'spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead',
    );
    expect(errors.some((text) => text.startsWith('spec.timeZone: Invalid value: "Local"'))).toBe(true);
  });

  it('wildcard hosts of Ingresses match one label in front', () => {
    const host = (name: string) => object({ spec: { rules: [{ host: name }] } });
    expect(ingresses.validate?.(host('*.example.com') as never)).toEqual([]);
    expect(ingresses.validate?.(host('a.*.example.com') as never)).toHaveLength(1);
    expect(messages(ingresses.validate?.(host('10.0.0.1') as never))[0]).toContain('must be a DNS name, not an IP address');
  });

  it('system priorities are for system classes', () => {
    const named = (name: string, value: number) =>
      messages(priorityClasses.validate?.({ ...object<KubeObject>({ value, preemptionPolicy: 'Never' }), metadata: { name } } as never));
    expect(named('system-node-critical', 2_000_001_000)).toEqual([]);
    expect(named('system-mine', 5)[0]).toContain("priority class names with 'system-' prefix are reserved");
    expect(named('mine', 1_000_000_001)[0]).toContain('maximum allowed value of a user defined priority is 1000000000');
  });
});
