import type { PageModel } from '../page-model.ts';
import { appView, eventsView, nodeView, stepsView } from './details.tsx';
import { homeView } from './home.tsx';
import type { View } from './parts.tsx';

/** Keeps of an address what decides about the page: its path, and the filter of the overview. */
export function targetOf(url: string): string {
  const mark = url.indexOf('?');
  if (mark === -1) return url;
  const path = url.slice(0, mark);
  const filter = path === '/' ? (new URLSearchParams(url.slice(mark)).get('q') ?? '') : '';
  return filter === '' ? path : `${path}?${new URLSearchParams({ q: filter })}`;
}

/** The page at a path with its query; undefined when there is none, or what it showed is gone. */
export function viewOf(model: PageModel, target: string): View | undefined {
  const mark = target.indexOf('?');
  const path = mark === -1 ? target : target.slice(0, mark);
  const query = new URLSearchParams(mark === -1 ? '' : target.slice(mark));
  const [, section, ...names] = path.split('/').map(tryDecode);
  const [first, second, ...more] = names;
  if (more.length > 0) return undefined;
  if (section === '' && first === undefined) return homeView(model.home(), query.get('q') ?? '');
  if (section === 'events' && first === undefined) return eventsView(model.events());
  if (section === 'steps' && first === undefined) return stepsView(model.steps());
  if (section === 'apps' && first !== undefined && second !== undefined) {
    const app = model.app(first, second);
    return app === undefined ? undefined : appView(app);
  }
  if (section === 'nodes' && first !== undefined && second === undefined) {
    const node = model.node(first);
    return node === undefined ? undefined : nodeView(node);
  }
  return undefined;
}

function tryDecode(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    // A path that is not well-formed names nothing.
    return undefined;
  }
}
