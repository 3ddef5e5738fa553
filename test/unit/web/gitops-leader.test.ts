import { beforeEach, describe, expect, it } from 'vitest';
import type { Lease } from '../../../src/api/coordination/v1/lease.ts';
import { createActivityFeed } from '../../../src/base/contracts/activity.ts';
import type { InformerSet } from '../../../src/client/informer.ts';
import { followGitOpsLeader } from '../../../src/web/gitops-leader.ts';
import { createPageModel, type PageModel } from '../../../src/web/page-model.ts';
import { renderRegions } from '../../../src/web/pages/document.tsx';
import { homeView } from '../../../src/web/pages/home.tsx';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';

type Handler = (change: { readonly before?: Lease; readonly after?: Lease }) => void;

/** Caches that are empty but for Leases. */
function createLeaseCaches() {
  const known = new Map<string, Lease>();
  const handlers = new Set<Handler>();
  const listOf = (kind: string) => (kind === 'Lease' ? [...known.values()] : []);
  const informers = {
    get: ({ kind }: { readonly kind: string }) => ({
      get: () => undefined,
      list: () => listOf(kind),
      byIndex: () => [],
      addIndex: () => undefined,
      addHandler(handler: Handler) {
        if (kind === 'Lease') handlers.add(handler);
        return () => handlers.delete(handler);
      },
    }),
  } as unknown as InformerSet;
  return {
    informers,
    set(lease: Lease) {
      const before = known.get(lease.metadata.name);
      known.set(lease.metadata.name, lease);
      for (const handler of handlers) handler({ ...(before === undefined ? {} : { before }), after: lease });
    },
  };
}

const place = { namespace: 'flux-system', name: 'midship-gitops' };
const recordOf = (holderIdentity: string, renewTime = '2026-01-01T00:00:00.000000Z'): Lease => ({
  apiVersion: 'coordination.k8s.io/v1',
  kind: 'Lease',
  metadata: place,
  spec: { holderIdentity, leaseDurationSeconds: 10, renewTime },
});
const serverOf = (uid: string, page: string): Lease => ({
  apiVersion: 'coordination.k8s.io/v1',
  kind: 'Lease',
  metadata: {
    namespace: 'kube-system',
    name: `apiserver-${uid}`,
    annotations: { 'midship.dev/server-id': uid, 'midship.dev/server-page': page },
  },
  spec: { holderIdentity: `apiserver-${uid}_${uid}`, leaseDurationSeconds: 15 },
});

describe('page of one of several servers', () => {
  let caches: ReturnType<typeof createLeaseCaches>;
  let clock: ManualClock;
  let model: PageModel;
  let changes: number;
  beforeEach(() => {
    caches = createLeaseCaches();
    clock = createManualClock();
    const { informers } = caches;
    const gitOpsLeader = followGitOpsLeader(informers, { lease: place, identity: 'host-a_1' }, clock);
    model = createPageModel({ informers, activity: createActivityFeed(), gitOpsLeader });
    changes = 0;
    model.onChange(() => {
      changes += 1;
    });
  });
  const commits = (): string => renderRegions(homeView(model.home(), ''), undefined).get('line') ?? '';

  it('links to the page of the server that leads GitOps, in the place of the commits', () => {
    caches.set(serverOf('2', 'http://10.0.0.2:7070'));
    caches.set(serverOf('3', 'http://10.0.0.3:7070'));
    caches.set(recordOf('host-b_2'));
    expect(model.overview().gitops).toEqual({ leader: 'host-b', here: false, page: 'http://10.0.0.2:7070' });
    expect(model.overviewOfOwner().gitops).toEqual(model.overview().gitops);
    expect(commits()).toContain('GitOps runs on the server host-b. Its page has the commits: <a href="http://10.0.0.2:7070">');
  });

  it('shows its own commits when it leads, or is alone', () => {
    caches.set(recordOf('host-a_1'));
    expect(model.overview().gitops).toEqual({ leader: 'host-a', here: true, page: '' });
    expect(commits()).toContain('No commit seen yet.');
    model = createPageModel({ informers: caches.informers, activity: createActivityFeed() });
    expect(model.overview()).not.toHaveProperty('gitops');
    expect(commits()).toContain('No commit seen yet.');
  });

  it('says that nobody leads: before the first, after a stop, and when a leader has not renewed its Lease', () => {
    const nobody = 'No server leads GitOps now';
    expect(commits()).toContain(nobody);
    caches.set(recordOf('host-b_2'));
    expect(commits()).toContain('host-b');
    caches.set(recordOf(''));
    expect(commits()).toContain(nobody);
    expect(changes).toBe(2);
    caches.set(recordOf('host-b_2'));
    clock.advance(9_000);
    caches.set(recordOf('host-b_2', '2026-01-01T00:00:09.000000Z'));
    clock.advance(9_000);
    // The same record once more, as after a reconnection, is no renewal.
    caches.set(recordOf('host-b_2', '2026-01-01T00:00:09.000000Z'));
    expect([changes, model.overview().gitops?.leader]).toEqual([3, 'host-b']);
    clock.advance(1_000);
    expect([changes, model.overview().gitops]).toEqual([4, { leader: '', here: false, page: '' }]);
    expect(commits()).toContain(nobody);
  });

  it.each([
    ['loopback of another machine', 'host-b', 'http://127.0.0.1:7070', ''],
    ['loopback of this machine', 'host-a', 'http://127.0.0.1:7070', 'http://127.0.0.1:7070'],
    ['a script', 'host-a', 'javascript:alert(1)', ''],
    ['no address', 'host-b', 'x', ''],
  ])('takes %s for a link only if a browser reaches it', (_what, host, page, expected) => {
    caches.set(serverOf('2', page));
    caches.set(recordOf(`${host}_2`));
    expect(model.overview().gitops).toEqual({ leader: host, here: false, page: expected });
    expect(commits().includes('<a ')).toBe(expected !== '');
  });

  it('escapes what Leases say', () => {
    caches.set(serverOf('2', 'http://10.0.0.2:7070/"><script>'));
    caches.set(recordOf('<script>alert("1")</script>_2'));
    expect(commits()).toContain('the server &lt;script>alert(&quot;1&quot;)&lt;/script>');
    expect(commits()).not.toContain('<script');
  });
});
