import { describe, expect, it } from 'vitest';
import { placeOf, targetOf } from '../../../src/web/pages/router.ts';

const sha = 'a'.repeat(40);

describe('addresses of pages', () => {
  it('keep what decides about a page, in one order, and nothing else', () => {
    expect(targetOf('/?x=1&q=shop')).toBe('/?q=shop');
    expect(targetOf('/apps/a/b?object=web_x__Pod&tab=objects&evil=1')).toBe('/apps/a/b?tab=objects&object=web_x__Pod');
    expect(targetOf('/events?q=1')).toBe('/events');
    expect(targetOf('/nodes/a?tab=x')).toBe('/nodes/a');
  });

  it('name tab, object and commit of an app', () => {
    expect(placeOf('/apps/ns/shop')).toMatchObject({ page: 'app', namespace: 'ns', name: 'shop', tab: 'objects', object: '', commit: '' });
    expect(placeOf(`/apps/ns/shop?commit=${sha}`)).toMatchObject({ tab: 'history', commit: sha });
    for (const commit of ['HEAD', '--output=x', sha.slice(1), `${sha}^`]) {
      expect(placeOf(`/apps/ns/shop?tab=history&commit=${encodeURIComponent(commit)}`)).toMatchObject({ commit: '' });
    }
    expect(placeOf('/apps/ns/shop?tab=evil')).toMatchObject({ tab: 'objects' });
  });

  it('bound the lines of a log and the number of a page', () => {
    expect(placeOf('/logs/web/pod?tail=999999')).toMatchObject({ tailLines: 2_000, previous: false, container: '' });
    for (const tail of ['', '0', '-1', '1.5', 'x', '1e400'])
      expect(placeOf(`/logs/web/pod?tail=${tail}`)).toMatchObject({ tailLines: 200 });
    expect(placeOf('/logs/web/pod?previous=1&container=main')).toMatchObject({ previous: true, container: 'main' });
    for (const page of ['0', '-3', 'x']) expect(placeOf(`/objects?page=${page}`)).toMatchObject({ number: 1 });
  });

  it('are of no page when they are like none', () => {
    for (const target of [
      '/x',
      '/apps',
      '/apps/a',
      '/apps/a/b/c',
      '/logs',
      '/logs/a',
      '/logs/a/b/stream',
      '/nodes',
      '/nodes/a/b',
      '/find/a',
      '/%ff',
    ])
      expect(placeOf(target), target).toBeUndefined();
  });
});
