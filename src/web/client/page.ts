/**
 * Keeps an open page up to date: regions arrive as HTML that the server made, and are put in place without touching what did not change,
 * so that focus, selection and scroll position stay.
 */

interface Message {
  readonly title: string;
  readonly regions: Readonly<Record<string, string>>;
}

const silenceMs = 20_000;
const announceEveryMs = 5_000;

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
    history.replaceState(null, '', location.pathname + query);
    disconnect();
    connect();
  }, 150);
});
filter?.form?.addEventListener('submit', (event) => event.preventDefault());

let lastKey = '';
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof HTMLInputElement) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  const before = lastKey;
  lastKey = event.key;
  if (before === 'g' && event.key === 'e') location.assign('/events');
  if (event.key === '/' && filter !== null) {
    event.preventDefault();
    filter.focus();
  }
  if (event.key === '?') showKeys();
  if (event.key === 't') changeTheme();
  if (event.key === 'j') moveFocus(1);
  if (event.key === 'k') moveFocus(-1);
  if (event.key === 'Escape' && location.pathname !== '/') location.assign('/');
});

function connect(): void {
  if (stream !== undefined) return;
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
  const isSilent = Date.now() - lastHeardAt > silenceMs;
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
  for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
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
  const links = [...document.querySelectorAll<HTMLElement>('.apps a.name')];
  const index = links.indexOf(document.activeElement as HTMLElement);
  links[Math.min(links.length - 1, Math.max(0, index + step))]?.focus();
}
