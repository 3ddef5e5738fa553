import { listKindOf } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { apiVersionOf } from '../../machinery/resource.ts';
import { formatYaml } from '../../machinery/yaml.ts';
import type { ListPage } from '../kube-api.ts';
import { type ApiRequest, type HandlerContext, isCustomKind, nextSlice, representationOf } from './api-request.ts';
import { metaVersionOf, type Representation } from './content-negotiation.ts';
import { encodeListMetadata, encodeMessage, envelopeHead, envelopeTail, listItemHead } from './protobuf/encode.ts';
import { answerLayoutOf, partialMetadata } from './protobuf/layouts.ts';
import { sendJson, sendParts, sendProtobuf, sendValue } from './respond.ts';
import { columnDefinitionsOf, includeObjectOf, partialMetadataOf, type RowOptions, rowOf } from './table.ts';

/** Answers with one object in the form the client asked for. */
export function sendObject(
  request: ApiRequest,
  { encoder, clock }: HandlerContext,
  { code, object }: { readonly code: number; readonly object: KubeObject },
): void {
  const { response } = request;
  const representation = representationOf(request);
  switch (representation.as) {
    case 'Table': {
      const options = { kind: request.kind, include: includeObjectOf(request.query), now: clock.now() };
      const { resourceVersion } = object.metadata;
      const table = {
        kind: 'Table',
        apiVersion: metaVersionOf(representation),
        metadata: resourceVersion === undefined ? {} : { resourceVersion },
        columnDefinitions: columnDefinitionsOf(request.kind, object),
        rows: [rowOf(object, options)],
      };
      sendValue(response, { code, value: table }, representation);
      return;
    }
    case 'PartialObjectMetadata':
      sendValue(response, { code, value: { ...partialMetadataOf(object), apiVersion: metaVersionOf(representation) } }, representation);
      return;
    case undefined: {
      const isRead = request.raw.method === 'GET';
      if (representation.encoding === 'protobuf' && answerLayoutOf(object.apiVersion, object.kind) !== undefined)
        sendProtobuf(response, code, isRead ? encoder.protobuf(object) : encoder.protobufOnce(object));
      else if (representation.encoding === 'json' && !representation.pretty)
        sendJson(response, code, isRead ? encoder.json(object) : encoder.jsonOnce(object));
      else sendValue(response, { code, value: object }, representation);
      return;
    }
    default:
      representation.as satisfies never;
  }
}

interface ListAnswer {
  readonly request: ApiRequest;
  readonly context: HandlerContext;
  readonly page: ListPage;
  readonly representation: Representation;
}

/** Answers with a list, in slices: its length does not matter to the event loop. */
export async function sendList(request: ApiRequest, context: HandlerContext, page: ListPage): Promise<void> {
  const representation = representationOf(request);
  const answer: ListAnswer = { request, context, page, representation };
  await sendParts({
    response: request.response,
    encoding: representation.encoding,
    parts: partsOf(answer),
    clock: context.clock,
    signal: request.signal,
    seat: request.seat,
    isShortOfMemory: context.isShortOfMemory,
    nextTurn: () => nextSlice(request, context),
  });
}

const listMetadataOf = ({ resourceVersion, continue: token, remainingItemCount }: ListPage): Record<string, unknown> => ({
  // Objects that are created on request have none.
  ...(resourceVersion === '' ? {} : { resourceVersion }),
  ...(token === undefined ? {} : { continue: token }),
  ...(remainingItemCount === undefined ? {} : { remainingItemCount }),
});

interface ListShape {
  /** Fields in front of the elements; the order is the wire's. */
  readonly head: Readonly<Record<string, unknown>>;
  readonly field: 'items' | 'rows';
  readonly elements: Iterable<unknown>;
}

function shapeOf({ request, context: { clock }, page, representation }: ListAnswer): ListShape {
  const { kind } = request;
  const metadata = listMetadataOf(page);
  const apiVersion = metaVersionOf(representation);
  switch (representation.as) {
    case 'Table': {
      const options: RowOptions = { kind, include: includeObjectOf(request.query), now: clock.now() };
      const head = { kind: 'Table', apiVersion, metadata, columnDefinitions: columnDefinitionsOf(kind) };
      return { head, field: 'rows', elements: mapped(page.items, (object) => rowOf(object, options)) };
    }
    case 'PartialObjectMetadata': {
      const head = { kind: 'PartialObjectMetadataList', apiVersion, metadata };
      return { head, field: 'items', elements: mapped(page.items, (object) => ({ ...partialMetadataOf(object), apiVersion })) };
    }
    case undefined: {
      // Lists of custom resources say that there are no more pages.
      const full = kind.custom === undefined ? metadata : { continue: '', ...metadata };
      const head = { kind: listKindOf(kind), apiVersion: apiVersionOf(kind), metadata: full };
      return { head, field: 'items', elements: page.items };
    }
    default:
      return representation.as satisfies never;
  }
}

function* mapped<A, B>(items: Iterable<A>, map: (item: A) => B): Iterable<B> {
  for (const item of items) yield map(item);
}

function partsOf(answer: ListAnswer): Iterable<string> {
  const { encoding } = answer.representation;
  switch (encoding) {
    case 'json':
      return jsonParts(answer);
    case 'yaml':
      return yamlParts(answer);
    case 'protobuf':
      return protobufParts(answer);
    default:
      return encoding satisfies never;
  }
}

function* jsonParts(answer: ListAnswer): Iterable<string> {
  const { pretty } = answer.representation;
  const { head, field, elements } = shapeOf(answer);
  const encode = elementEncoder(answer);
  yield `${JSON.stringify(head).slice(0, -1)},"${field}":[`;
  let separator = pretty ? '\n' : '';
  for (const element of elements) {
    yield separator + encode(element);
    separator = pretty ? ',\n' : ',';
  }
  yield pretty ? '\n]}\n' : ']}\n';
}

function elementEncoder({ request, context: { encoder }, representation: { as, pretty } }: ListAnswer): (element: unknown) => string {
  const namesKind = isCustomKind(request.kind);
  if (as !== undefined) return (element) => JSON.stringify(element, undefined, pretty ? 2 : undefined);
  if (pretty) return (element) => JSON.stringify(namesKind ? element : withoutKind(element as KubeObject), undefined, 2);
  return namesKind ? (element) => encoder.json(element as KubeObject) : (element) => encoder.itemJson(element as KubeObject);
}

function withoutKind(object: KubeObject): unknown {
  const { kind: _kind, apiVersion: _apiVersion, ...rest } = object;
  return rest;
}

/**
 * The length of the list comes before its elements. So they are encoded once for the length and once to be sent. To hold
 * all of them would take the memory that slices save. The encoder keeps some megabytes of them in between.
 */
function* protobufParts({ request: { kind }, context: { encoder }, page, representation }: ListAnswer): Iterable<string> {
  const isWhole = representation.as === undefined;
  const encode = isWhole ? encoder.itemProtobuf : (object: KubeObject) => encodeMessage(partialMetadata, partialMetadataOf(object));
  const type = isWhole
    ? { apiVersion: apiVersionOf(kind), kind: listKindOf(kind) }
    : { apiVersion: metaVersionOf(representation), kind: 'PartialObjectMetadataList' };
  const metadata = encodeListMetadata(listMetadataOf(page));
  let length = metadata.length;
  for (const object of page.items) {
    const itemLength = encode(object).length;
    length += listItemHead(itemLength).length + itemLength;
    yield '';
  }
  yield envelopeHead(type, length) + metadata;
  for (const object of page.items) {
    const item = encode(object);
    yield listItemHead(item.length) + item;
  }
  yield envelopeTail;
}

function* yamlParts(answer: ListAnswer): Iterable<string> {
  const { request, representation } = answer;
  const { head, field, elements } = shapeOf(answer);
  const namesKind = representation.as !== undefined || isCustomKind(request.kind);
  yield formatYaml(head);
  let empty = true;
  for (const element of elements) {
    const text = formatYaml(namesKind ? element : withoutKind(element as KubeObject));
    const indented = text.trimEnd().replace(/\n(?=.)/g, '\n  ');
    yield `${empty ? `${field}:\n` : ''}- ${indented}\n`;
    empty = false;
  }
  if (empty) yield `${field}: []\n`;
}
