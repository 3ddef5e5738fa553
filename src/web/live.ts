import type { ServerResponse } from 'node:http';
import type { Clock } from '../base/clock.ts';
import { contentTypes } from './answers.ts';

/** A page as far as it changes: its title and the HTML of its regions. */
export interface Rendering {
  readonly title: string;
  readonly regions: ReadonlyMap<string, string>;
}

export interface LiveOptions {
  /** Made after the call. Undefined when there is no such page, or it is gone; rejects with Busy when there is no time for it. */
  render(path: string): Promise<Rendering | undefined>;
  onChange(listener: () => void): () => void;
  readonly clock: Clock;
  /** Tells this server's event ids from those of the one before. */
  readonly bootId: string;
}

/** Keeps open pages up to date by server-sent events. */
export interface Live {
  /**
   * Answers the request; false when there is no such page, and nothing was written. When an address or all together have too many streams,
   * the oldest stream ends, and its browser comes back for the changes since then.
   *
   * @throws Busy when the page cannot be made now
   */
  connect(options: Connect): Promise<boolean>;
  close(): void;
}

export interface Connect {
  readonly path: string;
  readonly lastEventId: string | undefined;
  readonly response: ServerResponse;
  /** The client's. */
  readonly address: string;
}

const minIntervalMs = 200;
/** After a rendering that failed. */
const retryMs = 1_000;
const heartbeatMs = 15_000;
const maxClients = 256;
const maxClientsOfAddress = 128;
const maxChannels = 64;
/** A viewer that is further behind than this is cut off, and comes back for a snapshot. */
const maxBufferedBytes = 1024 * 1024;

/**
 * Open pages of one path share a channel. It renders once for all of them, at most five times a second, and sends the regions whose HTML
 * has changed. Each region knows the version it changed in, so that a viewer that comes back gets what it missed and nothing else.
 */
export function createLive({ render, onChange, clock, bootId }: LiveOptions): Live {
  const channels = new Map<string, Channel>();
  let channelCount = 0;
  /** Oldest first, with the address of the client. */
  const streams = new Map<ServerResponse, string>();
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

  function channelOf(path: string): Channel {
    const known = channels.get(path);
    if (known !== undefined) return known;
    const [oldest] = channels;
    if (oldest !== undefined && channels.size >= maxChannels) {
      channels.delete(oldest[0]);
      oldest[1].close();
    }
    channelCount += 1;
    const channel = new Channel({ id: `${bootId}-${channelCount}`, render: () => render(path), clock });
    channels.set(path, channel);
    listen();
    return channel;
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

  function makeRoom(address: string): void {
    const ofAddress = [...streams].filter(([, each]) => each === address);
    const [oldest] = ofAddress.length >= maxClientsOfAddress ? ofAddress : streams.size >= maxClients ? streams : [];
    // Its `close` takes it off the list, here and in its channel.
    oldest?.[0].destroy();
  }

  return {
    async connect({ path, lastEventId, response, address }) {
      makeRoom(address);
      const channel = channelOf(path);
      streams.set(response, address);
      channel.enter(response);
      const leave = (): void => {
        if (!streams.delete(response)) return;
        channel.leave(response);
        removeIfEmpty(path, channel);
      };
      response.on('close', leave);
      let exists = false;
      try {
        exists = await channel.bringUpToDate();
      } finally {
        if (!exists) leave();
      }
      if (!exists) return false;
      // The client may have gone meanwhile.
      if (!streams.has(response)) return true;
      response.writeHead(200, { 'Content-Type': contentTypes.events, 'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no' });
      response.write('retry: 1000\n\n');
      channel.join(response, lastEventId);
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
  render(): Promise<Rendering | undefined>;
  readonly clock: Clock;
}

class Channel {
  readonly #id: string;
  readonly #render: () => Promise<Rendering | undefined>;
  readonly #clock: Clock;
  readonly #regions = new Map<string, { readonly html: string; readonly version: number }>();
  /** Viewers, those included that wait for the first rendering. */
  readonly #entered = new Set<ServerResponse>();
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
    return this.#entered.size;
  }

  enter(response: ServerResponse): void {
    this.#entered.add(response);
  }

  /** Renders once more and sends what has changed; false when there is no such page. */
  async bringUpToDate(): Promise<boolean> {
    const rendering = await this.#render();
    this.#nextAt = this.#clock.monotonicMs() + minIntervalMs;
    if (rendering !== undefined) this.#update(rendering);
    return rendering !== undefined;
  }

  /** After `bringUpToDate`: all viewers of a channel are at the same version. */
  join(response: ServerResponse, lastEventId: string | undefined): void {
    this.#responses.add(response);
    const seen = this.#versionOf(lastEventId);
    if (seen === undefined) write(response, this.#message('snapshot', 0));
    else if (seen < this.#version) write(response, this.#message('patch', seen));
  }

  leave(response: ServerResponse): void {
    this.#entered.delete(response);
    this.#responses.delete(response);
  }

  changed(): void {
    if (this.#cancel !== undefined) return;
    const wait = Math.max(0, this.#nextAt - this.#clock.monotonicMs());
    this.#cancel = this.#clock.after(wait, () => {
      this.#cancel = undefined;
      void this.#follow();
    });
  }

  async #follow(): Promise<void> {
    try {
      if (!(await this.bringUpToDate())) this.send('event: gone\ndata: {}\n\n');
    } catch {
      // There was no time, or the page cannot be made of the objects as they are: the next attempt shows what this one would have.
      this.#nextAt = this.#clock.monotonicMs() + retryMs;
      if (this.clients > 0) this.changed();
    }
  }

  send(text: string): void {
    for (const response of this.#responses) write(response, text);
  }

  close(): void {
    this.#cancel?.();
    for (const response of this.#entered) {
      if (this.#responses.has(response)) response.end();
      else response.destroy();
    }
  }

  #update(rendering: Rendering): void {
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
