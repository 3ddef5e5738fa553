import type { ServerResponse } from 'node:http';
import type { Clock } from '../base/clock.ts';
import { contentTypes } from './answers.ts';

/** A page as far as it changes: its title and the HTML of its regions. */
export interface Rendering {
  readonly title: string;
  readonly regions: ReadonlyMap<string, string>;
}

export interface LiveOptions {
  /** Undefined when there is no such page, or it is gone. */
  render(path: string): Rendering | undefined;
  onChange(listener: () => void): () => void;
  readonly clock: Clock;
  /** Tells this server's event ids from those of the one before. */
  readonly bootId: string;
}

/** Keeps open pages up to date by server-sent events. */
export interface Live {
  /** Answers the request; false when there is no such page or no room, and nothing was written. */
  connect(options: { readonly path: string; readonly lastEventId: string | undefined; readonly response: ServerResponse }): boolean;
  close(): void;
}

const minIntervalMs = 200;
/** Rendering takes at most a tenth of the time. */
const renderShare = 10;
const heartbeatMs = 15_000;
const maxClients = 256;
const maxChannels = 64;
/** A viewer that is further behind than this is cut off, and comes back for a snapshot. */
const maxBufferedBytes = 1024 * 1024;

/**
 * Open pages of one path share a channel: it renders once for all of them, at most five times a second, and sends the regions whose HTML
 * has changed. Each region knows the version it changed in, so that a viewer that comes back gets what it missed and nothing else.
 */
export function createLive({ render, onChange, clock, bootId }: LiveOptions): Live {
  const channels = new Map<string, Channel>();
  let channelCount = 0;
  let clients = 0;
  let stopListening: (() => void) | undefined;
  let stopHeartbeat: () => void = () => undefined;

  function beat(): void {
    for (const channel of channels.values()) channel.send('event: ping\ndata: {}\n\n');
    stopHeartbeat = clock.after(heartbeatMs, beat);
  }

  function listen(): void {
    if (stopListening !== undefined) return;
    stopListening = onChange(() => {
      for (const channel of channels.values()) channel.changed();
    });
    stopHeartbeat = clock.after(heartbeatMs, beat);
  }

  function removeIfEmpty(path: string, channel: Channel): void {
    if (channel.clients > 0 || channels.get(path) !== channel) return;
    channel.close();
    channels.delete(path);
    if (channels.size > 0) return;
    stopListening?.();
    stopListening = undefined;
    stopHeartbeat();
  }

  return {
    connect({ path, lastEventId, response }) {
      if (clients >= maxClients) return false;
      let channel = channels.get(path);
      if (channel === undefined) {
        if (channels.size >= maxChannels || render(path) === undefined) return false;
        channelCount += 1;
        channel = new Channel({ id: `${bootId}-${channelCount}`, render: () => render(path), clock });
        channels.set(path, channel);
        listen();
      }
      const joined = channel;
      clients += 1;
      response.on('close', () => {
        clients -= 1;
        joined.leave(response);
        removeIfEmpty(path, joined);
      });
      response.writeHead(200, { 'Content-Type': contentTypes.events, 'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no' });
      response.write('retry: 1000\n\n');
      joined.join(response, lastEventId);
      return true;
    },
    close() {
      for (const channel of channels.values()) channel.close();
      stopListening?.();
      stopHeartbeat();
    },
  };
}

interface ChannelOptions {
  readonly id: string;
  render(): Rendering | undefined;
  readonly clock: Clock;
}

class Channel {
  readonly #id: string;
  readonly #render: () => Rendering | undefined;
  readonly #clock: Clock;
  readonly #regions = new Map<string, { readonly html: string; readonly version: number }>();
  readonly #responses = new Set<ServerResponse>();
  #title = '';
  #version = 0;
  #cancel: (() => void) | undefined;
  #nextAt = 0;

  constructor({ id, render, clock }: ChannelOptions) {
    this.#id = id;
    this.#render = render;
    this.#clock = clock;
  }

  get clients(): number {
    return this.#responses.size;
  }

  join(response: ServerResponse, lastEventId: string | undefined): void {
    // Everyone is brought to the newest version first, so that all viewers of a channel are at the same one.
    this.#cancel?.();
    this.#cancel = undefined;
    this.#update();
    this.#responses.add(response);
    const seen = this.#versionOf(lastEventId);
    if (seen === undefined) write(response, this.#message('snapshot', 0));
    else if (seen < this.#version) write(response, this.#message('patch', seen));
  }

  leave(response: ServerResponse): void {
    this.#responses.delete(response);
  }

  changed(): void {
    if (this.#cancel !== undefined) return;
    const wait = Math.max(0, this.#nextAt - this.#clock.monotonicMs());
    this.#cancel = this.#clock.after(wait, () => {
      this.#cancel = undefined;
      this.#update();
    });
  }

  send(text: string): void {
    for (const response of this.#responses) write(response, text);
  }

  close(): void {
    this.#cancel?.();
    for (const response of this.#responses) response.end();
  }

  #update(): void {
    const startedAt = this.#clock.monotonicMs();
    const rendering = this.#render();
    const tookMs = this.#clock.monotonicMs() - startedAt;
    this.#nextAt = startedAt + tookMs + Math.max(minIntervalMs, tookMs * renderShare);
    if (rendering === undefined) {
      this.send('event: gone\ndata: {}\n\n');
      return;
    }
    const { title, regions } = rendering;
    const before = this.#version;
    const next = before + 1;
    for (const [id, html] of regions) {
      if (this.#regions.get(id)?.html === html) continue;
      this.#regions.set(id, { html, version: next });
      this.#version = next;
    }
    if (title !== this.#title) {
      this.#title = title;
      this.#version = next;
    }
    if (this.#version !== before && before > 0) this.send(this.#message('patch', before));
  }

  /** Undefined when the id is of another channel or none. */
  #versionOf(lastEventId: string | undefined): number | undefined {
    if (lastEventId?.startsWith(`${this.#id}-`) !== true) return undefined;
    const version = Number(lastEventId.slice(this.#id.length + 1));
    return Number.isSafeInteger(version) && version > 0 && version <= this.#version ? version : undefined;
  }

  #message(event: 'snapshot' | 'patch', after: number): string {
    const regions = Object.fromEntries([...this.#regions].flatMap(([id, { html, version }]) => (version > after ? [[id, html]] : [])));
    // JSON has no line breaks, so the data is one line.
    return `event: ${event}\nid: ${this.#id}-${this.#version}\ndata: ${JSON.stringify({ title: this.#title, regions })}\n\n`;
  }
}

function write(response: ServerResponse, text: string): void {
  response.write(text);
  if (response.writableLength > maxBufferedBytes) response.destroy();
}
