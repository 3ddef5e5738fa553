import type { KubeObject } from '../../machinery/object.ts';
import { encodeMessage, inEnvelope, layoutOfAnswer } from './protobuf/encode.ts';

/**
 * Encodes stored objects, and caches the texts of recently read ones: reads of the same objects by several clients then
 * cost one encoding. The answer to a write goes to one client, so `jsonOnce` and `protobufOnce` keep nothing. Kept, the
 * answers of pods that come and go outlived every collection of young objects, and filled the cache.
 */
export interface ObjectEncoder {
  /** The whole object. */
  json(object: KubeObject): string;
  /** The bytes of `json`, which are not kept. */
  jsonOnce(object: KubeObject): string;
  /** As an item of a typed list, which names kind and version only once, in the list. */
  itemJson(object: KubeObject): string;
  /** The whole object in its envelope, as a binary string. Its kind has a protobuf form. */
  protobuf(object: KubeObject): string;
  /** The bytes of `protobuf`, which are not kept. */
  protobufOnce(object: KubeObject): string;
  /** The message of the object alone, as a binary string. */
  itemProtobuf(object: KubeObject): string;
}

export function createObjectEncoder({ maxCachedLength }: { readonly maxCachedLength: number }): ObjectEncoder {
  const jsonTexts = new EncodedTexts(maxCachedLength, encodeItem);
  const protobufTexts = new EncodedTexts(maxCachedLength, encodeProtobuf);
  return {
    itemJson: (object) => jsonTexts.of(object),
    json(object) {
      const item = jsonTexts.of(object);
      const head = `{"kind":${JSON.stringify(object.kind)},"apiVersion":${JSON.stringify(object.apiVersion)}`;
      return item === '{}' ? `${head}}` : `${head},${item.slice(1)}`;
    },
    jsonOnce({ kind, apiVersion, ...rest }) {
      return JSON.stringify({ kind, apiVersion, ...rest });
    },
    itemProtobuf: (object) => protobufTexts.of(object),
    protobuf: (object) => inEnvelope(object, protobufTexts.of(object)),
    protobufOnce: (object) => inEnvelope(object, encodeProtobuf(object)),
  };
}

function encodeItem(object: KubeObject): string {
  const { kind: _kind, apiVersion: _apiVersion, ...rest } = object;
  return JSON.stringify(rest);
}

const encodeProtobuf = (object: KubeObject): string => encodeMessage(layoutOfAnswer(object), object);

interface Encoded {
  readonly object: KubeObject;
  readonly text: string;
}

/**
 * Each object has one cached text, that of the version read last. Otherwise a client that lists frequently changing
 * objects would fill the memory with texts that no client reads again. The cache is bounded by the sum of text lengths:
 * two generations, of which the older is dropped when the younger is half full.
 */
class EncodedTexts {
  readonly #maxLength: number;
  readonly #encode: (object: KubeObject) => string;
  /** By uid. Frozen objects do not change, so a text stays valid for its object. */
  #young = new Map<string, Encoded>();
  #old = new Map<string, Encoded>();
  #youngLength = 0;

  constructor(maxLength: number, encode: (object: KubeObject) => string) {
    this.#maxLength = maxLength;
    this.#encode = encode;
  }

  of(object: KubeObject): string {
    const { uid } = object.metadata;
    // Mutable and unstored objects must not be cached.
    if (uid === undefined || !Object.isFrozen(object)) return this.#encode(object);
    const known = this.#young.get(uid);
    if (known?.object === object) return known.text;
    const aged = this.#old.get(uid);
    const text = aged?.object === object ? aged.text : this.#encode(object);
    this.#remember(uid, { object, text });
    return text;
  }

  #remember(uid: string, encoded: Encoded): void {
    this.#youngLength += encoded.text.length - (this.#young.get(uid)?.text.length ?? 0);
    this.#young.set(uid, encoded);
    this.#old.delete(uid);
    if (this.#youngLength > this.#maxLength / 2) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngLength = 0;
    }
  }
}
