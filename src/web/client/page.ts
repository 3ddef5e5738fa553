/**
 * Keeps an open page up to date: regions arrive as HTML that the server made. Nodes that did not change stay in place, so that focus,
 * selection and scroll position stay.
 */

interface Message {
  readonly title: string;
  readonly regions: Readonly<Record<string, string>>;
}

const silenceMs = 20_000;
const announceEveryMs = 5_000;
/** Lines of a followed log that the page keeps. */
const maxLines = 5_000;

let stream: EventSource | undefined;
let lastHeardAt = Date.now();
let lastAnnouncedAt = 0;
let announced = headline();

for (const element of document.querySelectorAll('.script-only')) element.classList.add('shown');
updateAges();
connect();
setInterval(tick, 1_000);

// A hidden page needs no stream; browsers allow only a few for each host.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) disconnect();
  else connect();
});

document.addEventListener('click', (event) => {
  const target = event.target instanceof Element ? event.target : undefined;
  const copy = target?.closest<HTMLElement>('[data-copy]');
  if (copy?.dataset.copy !== undefined) {
    void navigator.clipboard.writeText(copy.dataset.copy).then(() => {
      copy.textContent = 'Copied';
      setTimeout(() => {
        copy.textContent = 'Copy';
      }, 1_500);
    });
  }
  if (target?.closest('#theme') !== null && target !== undefined) changeTheme();
});

const filter = document.querySelector<HTMLInputElement>('#filter');
let filterTimer: ReturnType<typeof setTimeout> | undefined;
// The server filters, so that the address shows the same to others and without a script.
filter?.addEventListener('input', () => {
  clearTimeout(filterTimer);
  filterTimer = setTimeout(() => {
    const query = filter.value === '' ? '' : `?${new URLSearchParams({ q: filter.value })}`;
    // Other pages of the list have other hits.
    history.replaceState(null, '', location.pathname + query);
    disconnect();
    connect();
  }, 150);
});
filter?.form?.addEventListener('submit', (event) => event.preventDefault());

let lastKey = '';
/** Pages by the second key of `g …`. */
const places: Readonly<Record<string, string>> = { a: '/', o: '/objects', e: '/events', n: '/#nodes-head' };
const tabOfKey: Readonly<Record<string, string>> = { h: 'history', l: 'logs', e: 'events' };

document.addEventListener('keydown', (event) => {
  if (event.key === 'k' && (event.ctrlKey || event.metaKey) && !event.altKey) {
    event.preventDefault();
    openPalette();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  if (palette?.open === true) return;
  const before = lastKey;
  lastKey = event.key;
  const place = before === 'g' ? places[event.key] : undefined;
  const tab = location.pathname.startsWith('/apps/') ? tabOfKey[event.key] : undefined;
  if (place !== undefined) location.assign(place);
  else if (tab !== undefined) location.assign(`${location.pathname}?tab=${tab}`);
  else if (event.key === '/') {
    event.preventDefault();
    if (filter === null) openPalette();
    else filter.focus();
  } else if (event.key === '?') showKeys();
  else if (event.key === 't') changeTheme();
  else if (event.key === 'j') moveFocus(1);
  else if (event.key === 'k') moveFocus(-1);
  else if (event.key === 'Escape' && location.pathname !== '/') location.assign(wayBack());
});

/** From a part of a page to the page, and from there to the overview. */
const wayBack = (): string => (location.search === '' ? '/' : location.pathname);

let palette: HTMLDialogElement | undefined;

document.querySelector('#find')?.addEventListener('click', (event) => {
  event.preventDefault();
  openPalette();
});

/** Shows the hits of `/find` over this page. Without a script the link leads there. */
function openPalette(): void {
  palette ??= makePalette();
  if (!palette.open) palette.showModal();
  palette.querySelector('input')?.select();
}

function makePalette(): HTMLDialogElement {
  const dialog = document.createElement('dialog');
  dialog.id = 'palette';
  dialog.setAttribute('aria-label', 'Find a page, app, node or object');
  const input = document.createElement('input');
  input.type = 'search';
  input.maxLength = 100;
  input.placeholder = 'Find a page, app, node or object';
  input.setAttribute('aria-label', input.placeholder);
  const hits = document.createElement('div');
  dialog.append(input, hits);
  document.body.append(dialog);
  let newest = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const search = async (): Promise<void> => {
    newest += 1;
    const number = newest;
    const answer = await fetch(`/find?${new URLSearchParams({ q: input.value })}`);
    const found = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('#found');
    // An answer to an earlier text may come after that to a later one.
    if (found !== null && number === newest) hits.replaceChildren(...found.childNodes);
  };
  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => void search(), 100);
  });
  dialog.addEventListener('keydown', (event) => {
    const links = [...dialog.querySelectorAll('a')];
    const index = links.indexOf(document.activeElement as HTMLAnchorElement);
    if (event.key === 'Enter' && event.target === input) links[0]?.click();
    else if (event.key === 'ArrowDown') links[Math.min(links.length - 1, index + 1)]?.focus();
    else if (event.key === 'ArrowUp') (index <= 0 ? input : links[index - 1])?.focus();
    else return;
    event.preventDefault();
  });
  void search();
  return dialog;
}

followOnDemand();

/** Appends the lines of a log as they come. Scrolling up stops the scrolling, not the lines. */
function followOnDemand(): void {
  const button = document.querySelector<HTMLButtonElement>('#follow');
  const pane = document.querySelector<HTMLElement>('#log');
  if (pane === null) return;
  pane.scrollTop = pane.scrollHeight;
  const search = document.querySelector<HTMLInputElement>('#log-search');
  search?.addEventListener('input', () => {
    if (pane.querySelector(':scope > div') === null) splitLines(pane);
    for (const line of pane.children) markMiss(line, search.value);
  });
  let lines: EventSource | undefined;
  const stop = (text: string): void => {
    lines?.close();
    lines = undefined;
    button?.setAttribute('aria-pressed', 'false');
    if (button !== null) button.textContent = text;
  };
  button?.addEventListener('click', () => {
    if (lines !== undefined) {
      stop('Follow');
      return;
    }
    button.setAttribute('aria-pressed', 'true');
    button.textContent = 'Stop following';
    const source = new EventSource(button.dataset.stream ?? '');
    lines = source;
    // The stream begins with the newest lines once more.
    source.addEventListener('open', () => pane.replaceChildren());
    source.addEventListener('lines', (event: MessageEvent<string>) => {
      const { lines: texts, skipped } = JSON.parse(event.data) as { readonly lines: readonly string[]; readonly skipped: number };
      addLines(pane, skipped === 0 ? texts : [`… ${skipped} lines were too fast for this page …`, ...texts], search?.value ?? '');
    });
    source.addEventListener('end', (event: MessageEvent<string>) => {
      addLines(pane, [`— ${(JSON.parse(event.data) as { readonly text: string }).text}`], '');
      stop('Follow again');
    });
    source.addEventListener('error', () => {
      if (source.readyState === EventSource.CLOSED) stop('Follow again');
    });
  });
}

function addLines(pane: HTMLElement, texts: readonly string[], wanted: string): void {
  const isAtEnd = pane.scrollHeight - pane.scrollTop - pane.clientHeight < 24;
  for (const text of texts) {
    const line = document.createElement('div');
    line.textContent = text;
    markMiss(line, wanted);
    pane.append(line);
  }
  while (pane.childElementCount > maxLines) pane.firstElementChild?.remove();
  if (isAtEnd) pane.scrollTop = pane.scrollHeight;
}

function splitLines(pane: HTMLElement): void {
  const texts = (pane.textContent ?? '').replace(/\n$/, '').split('\n');
  pane.replaceChildren();
  addLines(pane, texts, '');
}

function markMiss(line: Element, wanted: string): void {
  const isHit = wanted === '' || (line.textContent ?? '').toLowerCase().includes(wanted.toLowerCase());
  line.classList.toggle('miss', !isHit);
}

function connect(): void {
  if (stream !== undefined || document.body.dataset.live === undefined) return;
  lastHeardAt = Date.now();
  const path = location.pathname + location.search;
  stream = new EventSource(`/events/stream?path=${encodeURIComponent(path)}`);
  const heard = (): void => {
    lastHeardAt = Date.now();
    showConnection();
  };
  const receive = (event: MessageEvent<string>): void => {
    heard();
    apply(JSON.parse(event.data) as Message);
  };
  stream.addEventListener('open', heard);
  stream.addEventListener('ping', heard);
  stream.addEventListener('snapshot', receive);
  stream.addEventListener('patch', receive);
  stream.addEventListener('gone', () => location.assign('/'));
  stream.addEventListener('error', () => {
    // The browser tries again by itself, except after an answer that was refused.
    if (stream?.readyState !== EventSource.CLOSED) return;
    stream = undefined;
    setTimeout(connect, 5_000);
  });
}

function disconnect(): void {
  stream?.close();
  stream = undefined;
}

function tick(): void {
  updateAges();
  showConnection();
  announce();
}

/** Old data is never shown as if it were live. */
function showConnection(): void {
  const notice = document.getElementById('connection');
  if (notice === null) return;
  const isSilent = document.body.dataset.live !== undefined && Date.now() - lastHeardAt > silenceMs;
  notice.hidden = !isSilent;
  if (isSilent) notice.textContent = `Reconnecting, data from ${new Date(lastHeardAt).toLocaleTimeString()}`;
}

function apply({ title, regions }: Message): void {
  document.title = title === '' ? document.title : title;
  for (const [id, html] of Object.entries(regions)) {
    const region = document.getElementById(id);
    if (region === null) continue;
    const next = document.createElement('template');
    next.innerHTML = html;
    mergeChildren(region, next.content);
  }
  for (const element of document.querySelectorAll('.script-only')) element.classList.add('shown');
  updateAges();
  announce();
}

function headline(): string {
  return document.querySelector('h1')?.textContent ?? '';
}

/** Tells screen readers the new sentence, not more often than they can read. */
function announce(): void {
  const text = headline();
  const element = document.getElementById('announcement');
  if (element === null || text === announced || Date.now() - lastAnnouncedAt < announceEveryMs) return;
  announced = text;
  lastAnnouncedAt = Date.now();
  element.textContent = text;
}

/** Makes the children of `place` like those of `next`, keeping elements with the same id, or of the same name at the same place. */
function mergeChildren(place: Element, next: ParentNode & Node): void {
  const byId = new Map<string, Element>();
  for (const child of place.children) if (child.id !== '') byId.set(child.id, child);
  let cursor: ChildNode | null = place.firstChild;
  for (const wanted of [...next.childNodes]) {
    const known = wanted instanceof Element && wanted.id !== '' ? byId.get(wanted.id) : sameKind(cursor, wanted) ? cursor : undefined;
    if (known === undefined || known === null) {
      place.insertBefore(wanted, cursor);
      continue;
    }
    if (known === cursor) cursor = cursor.nextSibling;
    else place.insertBefore(known, cursor);
    mergeNode(known, wanted);
  }
  while (cursor !== null) {
    const gone: ChildNode = cursor;
    cursor = cursor.nextSibling;
    gone.remove();
  }
}

const sameKind = (a: Node | null, b: Node): boolean => a !== null && a.nodeName === b.nodeName && !(a instanceof Element && a.id !== '');

function mergeNode(old: ChildNode, wanted: ChildNode): void {
  if (!(old instanceof Element) || !(wanted instanceof Element)) {
    if (old.nodeValue !== wanted.nodeValue) old.nodeValue = wanted.nodeValue;
    return;
  }
  const stateBefore = old.getAttribute('data-state');
  for (const { name } of [...old.attributes]) {
    // Opened by the viewer: the server does not know.
    if (!wanted.hasAttribute(name) && !(name === 'open' && old instanceof HTMLDetailsElement)) old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  // The text of an age is counted here.
  if (!old.hasAttribute('data-age')) mergeChildren(old, wanted);
  if (stateBefore !== old.getAttribute('data-state')) {
    old.classList.add('changed');
    setTimeout(() => old.classList.remove('changed'), 700);
  }
}

function updateAges(): void {
  for (const time of document.querySelectorAll<HTMLTimeElement>('time[data-age]')) {
    const text = ageText(Date.now() - Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}

function ageText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** Kept in a cookie, so that the server paints the first page right. */
function changeTheme(): void {
  const root = document.documentElement;
  const isDark = root.dataset.theme === undefined ? matchMedia('(prefers-color-scheme: dark)').matches : root.dataset.theme === 'dark';
  const theme = isDark ? 'light' : 'dark';
  root.dataset.theme = theme;
  // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API is not in every browser, and the server must see the choice.
  document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=strict`;
}

function showKeys(): void {
  const keys = document.querySelector<HTMLDetailsElement>('#keys');
  if (keys === null) return;
  keys.open = !keys.open;
  if (keys.open) keys.scrollIntoView({ block: 'nearest' });
}

function moveFocus(step: 1 | -1): void {
  const links = [
    ...document.querySelectorAll<HTMLElement>('.apps a.name, .objects .entry > a:first-of-type, .stacked td:nth-child(3) a, .found a'),
  ];
  const index = links.indexOf(document.activeElement as HTMLElement);
  links[Math.min(links.length - 1, Math.max(0, index + step))]?.focus();
}
