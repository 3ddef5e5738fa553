/** @see RFC 9113, sections 4 to 7 */

export const frameTypes = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const frameFlags = { endStream: 0x1, acknowledges: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;

export const settingIds = { enablePush: 2, maxConcurrentStreams: 3, initialWindowSize: 4, maxFrameSize: 5, maxHeaderListSize: 6 } as const;

export const errorCodes = {
  none: 0,
  protocol: 1,
  flowControl: 3,
  frameSize: 6,
  refusedStream: 7,
  cancel: 8,
  compression: 9,
  enhanceYourCalm: 11,
  inadequateSecurity: 12,
} as const;

const errorNames = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
];

export const errorName = (code: number): string => errorNames[code] ?? `error ${code}`;

/** The reason for which a stream or the connection ends. */
export class Http2Error extends Error {
  /** A number of `errorCodes`, which the server gets to know. */
  readonly code: number;
  /** The server says that it has not looked at the request, which may be sent again. */
  readonly isUnprocessed: boolean;
  constructor(code: number, message: string, isUnprocessed = false) {
    super(message);
    this.name = 'Http2Error';
    this.code = code;
    this.isUnprocessed = isUnprocessed;
  }
}

export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
export const frameHeadBytes = 9;
/** Both sides begin with these. */
export const defaultWindowBytes = 65_535;
export const defaultFrameBytes = 16_384;
export const maxWindowBytes = 2 ** 31 - 1;
export const maxStreamId = 2 ** 31 - 1;

export interface FrameHead {
  /** Bytes that follow the head. */
  readonly length: number;
  readonly type: number;
  readonly flags: number;
  /** 0: the whole connection. */
  readonly streamId: number;
}

export function readFrameHead(bytes: Buffer, at: number): FrameHead {
  return {
    length: bytes.readUIntBE(at, 3),
    type: bytes[at + 3] as number,
    flags: bytes[at + 4] as number,
    streamId: bytes.readUInt32BE(at + 5) & 0x7fff_ffff,
  };
}

interface FrameRule {
  readonly belongsTo: 'stream' | 'connection' | 'both';
  readonly isLength?: (length: number) => boolean;
}

const frameRules: { readonly [type: number]: FrameRule } = {
  [frameTypes.data]: { belongsTo: 'stream' },
  [frameTypes.headers]: { belongsTo: 'stream' },
  [frameTypes.reset]: { belongsTo: 'stream', isLength: (length) => length === 4 },
  [frameTypes.settings]: { belongsTo: 'connection', isLength: (length) => length % 6 === 0 },
  [frameTypes.ping]: { belongsTo: 'connection', isLength: (length) => length === 8 },
  [frameTypes.goAway]: { belongsTo: 'connection', isLength: (length) => length >= 8 },
  [frameTypes.windowUpdate]: { belongsTo: 'both', isLength: (length) => length === 4 },
  [frameTypes.continuation]: { belongsTo: 'stream' },
};

/**
 * Checks the head of a frame that a server sent. Types that the standard does not know pass, as do priorities.
 *
 * @param nextId  the stream that the client opens next: later ones are idle, and those of even numbers are the server's
 * @throws Http2Error
 */
export function checkFrame({ type, streamId, length, flags }: FrameHead, nextId: number): void {
  if (length > defaultFrameBytes) throw new Http2Error(errorCodes.frameSize, `the server sent a frame of ${length} bytes`);
  if (type === frameTypes.pushPromise) throw new Http2Error(errorCodes.protocol, 'the server pushes, which this client refused');
  const rule = frameRules[type];
  if (rule === undefined) return;
  if (rule.belongsTo !== 'both' && (streamId === 0) !== (rule.belongsTo === 'connection'))
    throw new Http2Error(errorCodes.protocol, `the server sent a frame of type ${type} on stream ${streamId}`);
  if (streamId !== 0 && (streamId >= nextId || streamId % 2 === 0))
    throw new Http2Error(errorCodes.protocol, `the server sent a frame on stream ${streamId}, which nobody opened`);
  const isAnswer = type === frameTypes.settings && (flags & frameFlags.acknowledges) !== 0;
  if (rule.isLength?.(length) === false || (isAnswer && length > 0))
    throw new Http2Error(errorCodes.frameSize, `the server sent a frame of type ${type} with ${length} bytes`);
}

/** The head of a frame, with room for `extra` bytes after it that are part of `length`. */
export function writeFrameHead({ length, type, flags, streamId }: FrameHead, extra = 0): Buffer {
  const bytes = Buffer.allocUnsafe(frameHeadBytes + extra);
  bytes.writeUIntBE(length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(streamId, 5);
  return bytes;
}

/** A frame that has one number of 32 bits: the credit of a window, or why a stream is reset. */
export function numberFrame(type: number, streamId: number, value: number): Buffer {
  const bytes = writeFrameHead({ length: 4, type, flags: 0, streamId }, 4);
  bytes.writeUInt32BE(value, frameHeadBytes);
  return bytes;
}

/** Says that the client leaves, and took no stream of the server. */
export function goAwayFrame(code: number): Buffer {
  const bytes = writeFrameHead({ length: 8, type: frameTypes.goAway, flags: 0, streamId: 0 }, 8);
  bytes.writeUInt32BE(0, frameHeadBytes);
  bytes.writeUInt32BE(code, frameHeadBytes + 4);
  return bytes;
}

export function settingsFrame(settings: readonly (readonly [id: number, value: number])[]): Buffer {
  const bytes = writeFrameHead({ length: settings.length * 6, type: frameTypes.settings, flags: 0, streamId: 0 }, settings.length * 6);
  for (const [at, [id, value]] of settings.entries()) {
    bytes.writeUInt16BE(id, frameHeadBytes + at * 6);
    bytes.writeUInt32BE(value, frameHeadBytes + at * 6 + 2);
  }
  return bytes;
}

/** Settings of the server, in order. @throws Http2Error for values that the standard forbids */
export function* readSettings(payload: Buffer): Generator<readonly [id: number, value: number]> {
  for (let at = 0; at < payload.length; at += 6) {
    const [id, value] = [payload.readUInt16BE(at), payload.readUInt32BE(at + 2)];
    if (id === settingIds.initialWindowSize && value > maxWindowBytes)
      throw new Http2Error(errorCodes.flowControl, `the server set a window of ${value} bytes, which is too large`);
    if (id === settingIds.maxFrameSize && (value < defaultFrameBytes || value >= 2 ** 24))
      throw new Http2Error(errorCodes.protocol, `the server set frames of ${value} bytes`);
    if (id === settingIds.enablePush && value !== 0) throw new Http2Error(errorCodes.protocol, 'the server set that clients may push');
    yield [id, value];
  }
}

/** Takes the padding off a frame of data or headers. @throws Http2Error when the padding is longer than the frame */
export function unpad(payload: Buffer, flags: number): Buffer {
  if ((flags & frameFlags.padded) === 0) return payload;
  const padding = payload[0] ?? 0;
  if (padding >= payload.length) throw new Http2Error(errorCodes.protocol, 'the server padded a frame beyond its end');
  return payload.subarray(1, payload.length - padding);
}

/** The part of a frame of headers that is compressed. @throws Http2Error when padding or a priority is longer than the frame */
export function headerBlockOf(payload: Buffer, flags: number): Buffer {
  const block = unpad(payload, flags);
  if ((flags & frameFlags.priority) === 0) return block;
  if (block.length < 5) throw new Http2Error(errorCodes.frameSize, 'the server sent a priority that is cut short');
  return block.subarray(5);
}
