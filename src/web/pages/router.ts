import type { PageModel } from '../page-model.ts';
import { type AppTab, appTabs, appView } from './app.tsx';
import { eventsView, nodeView, stepsView } from './details.tsx';
import { homeView } from './home.tsx';
import { findView, objectsView } from './lists.tsx';
import { logView } from './log.tsx';
import type { View, ViewOptions } from './parts.tsx';

/** The parts of a query that decide about a page, by the first part of its path. */
const queries: Readonly<Record<string, readonly string[]>> = {
  '': ['q'],
  apps: ['tab', 'object', 'commit'],
  objects: ['q', 'page'],
  find: ['q'],
  events: ['page'],
  steps: ['page'],
  logs: ['container', 'previous', 'tail'],
};

/** Keeps of an address what decides about the page. */
export function targetOf(url: string): string {
  const mark = url.indexOf('?');
  if (mark === -1) return url;
  const path = url.slice(0, mark);
  const given = new URLSearchParams(url.slice(mark));
  const kept = new URLSearchParams();
  for (const name of queries[path.split('/')[1] ?? ''] ?? []) {
    const value = given.get(name) ?? '';
    if (value !== '') kept.set(name, value);
  }
  return kept.size === 0 ? path : `${path}?${kept}`;
}

/** A target in its parts. */
export type Place =
  | { readonly page: 'home' | 'find'; readonly filter: string }
  | { readonly page: 'objects'; readonly filter: string; readonly number: number }
  | { readonly page: 'events' | 'steps'; readonly number: number }
  | { readonly page: 'node'; readonly name: string }
  | {
      readonly page: 'app';
      readonly namespace: string;
      readonly name: string;
      readonly tab: AppTab;
      /** Inventory id of the chosen object; empty for none. */
      readonly object: string;
      /** SHA of the chosen commit; empty for none. */
      readonly commit: string;
    }
  | {
      readonly page: 'log';
      readonly namespace: string;
      readonly pod: string;
      /** Empty: the first one. */
      readonly container: string;
      readonly previous: boolean;
      readonly tailLines: number;
    };

const defaultTailLines = 200;
const maxTailLines = 2_000;

export function placeOf(target: string): Place | undefined {
  const mark = target.indexOf('?');
  const path = mark === -1 ? target : target.slice(0, mark);
  const query = new URLSearchParams(mark === -1 ? '' : target.slice(mark));
  const [, section, ...names] = path.split('/').map(tryDecode);
  const [first, second, ...more] = names;
  if (more.length > 0) return undefined;
  const text = (name: string): string => query.get(name) ?? '';
  const number = numberIn(text('page'), { otherwise: 1, max: 1_000_000 });
  if (first === undefined) {
    switch (section) {
      case '':
        return { page: 'home', filter: text('q') };
      case 'find':
        return { page: section, filter: text('q') };
      case 'objects':
        return { page: section, filter: text('q'), number };
      case 'events':
      case 'steps':
        return { page: section, number };
      default:
        return undefined;
    }
  }
  if (section === 'nodes' && second === undefined) return { page: 'node', name: first };
  if (second === undefined) return undefined;
  if (section === 'apps') {
    const commit = text('commit');
    return {
      page: 'app',
      namespace: first,
      name: second,
      tab: appTabs.find((tab) => tab === text('tab')) ?? (commit === '' ? 'objects' : 'history'),
      object: text('object'),
      commit: /^[0-9a-f]{40}([0-9a-f]{24})?$/.test(commit) ? commit : '',
    };
  }
  if (section !== 'logs') return undefined;
  return {
    page: 'log',
    namespace: first,
    pod: second,
    container: text('container'),
    previous: text('previous') !== '',
    tailLines: numberIn(text('tail'), { otherwise: defaultTailLines, max: maxTailLines }),
  };
}

/** The page at a path with its query; undefined when there is none, or what it showed is gone. */
export function viewOf(model: PageModel, target: string, options: ViewOptions): View | undefined {
  const place = placeOf(target);
  if (place === undefined) return undefined;
  switch (place.page) {
    case 'home':
      return homeView(model.home(), place.filter);
    case 'find':
      return findView(model.find(place.filter), place.filter);
    case 'objects':
      return objectsView(model.objects(place.filter, place.number), place.filter);
    case 'events':
      return eventsView(model.events(place.number));
    case 'steps':
      return stepsView(model.steps(place.number));
    case 'node': {
      const node = model.node(place.name);
      return node === undefined ? undefined : nodeView(node);
    }
    case 'app': {
      const app = model.app(place.namespace, place.name);
      if (app === undefined) return undefined;
      const object = place.object === '' ? undefined : model.object(app, place.object);
      return appView(app, {
        ...options,
        tab: place.tab,
        object,
        isGone: place.object !== '' && object === undefined,
        commit: place.commit,
      });
    }
    case 'log': {
      const pod = model.pod(place.namespace, place.pod);
      return pod === undefined ? undefined : logView(pod, { ...options, ...place });
    }
    default:
      return place satisfies never;
  }
}

/** A whole number from 1 to `max`. */
function numberIn(text: string, { otherwise, max }: { readonly otherwise: number; readonly max: number }): number {
  const value = Number(text);
  return text !== '' && Number.isInteger(value) && value > 0 ? Math.min(value, max) : otherwise;
}

function tryDecode(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    // A path that is not well-formed names nothing.
    return undefined;
  }
}
