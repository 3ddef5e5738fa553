import { gunzipSync, gzipSync } from 'node:zlib';
import { type Secret, secrets } from '../../../api/core/v1/secret.ts';
import type { Client } from '../../../client/client.ts';
import type { ObjectRef } from '../../../machinery/object.ts';
import { isNotFound } from '../../../machinery/status-error.ts';
import { fieldManager } from './fields.ts';

/** Larger than any list that is kept, and a bound on what a hostile Secret may unpack to. */
const maxBytes = 64 * 1024 * 1024;

/**
 * Something the engine must remember on any cluster, kept compressed in a Secret beside the app: the write-ahead inventory and the
 * history. A Secret, because a diff in it may hold what a manifest of a Secret held.
 */
export async function readRecord<T>(client: Client, ref: ObjectRef): Promise<T | undefined> {
  try {
    const secret = await client.get(secrets, ref);
    const packed = secret.data?.record;
    return packed === undefined
      ? undefined
      : (JSON.parse(gunzipSync(Buffer.from(packed, 'base64'), { maxOutputLength: maxBytes }).toString('utf8')) as T);
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw new Error(`read record ${ref.namespace}/${ref.name}`, { cause: err });
  }
}

export async function writeRecord(
  client: Client,
  options: { readonly ref: ObjectRef; readonly owner: OwnerOf; readonly value: unknown },
): Promise<void> {
  const { ref, owner, value } = options;
  const record = gzipSync(JSON.stringify(value), { level: 1 }).toString('base64');
  await client.patch<Secret>(
    secrets,
    ref,
    {
      type: 'apply',
      body: {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: {
          name: ref.name,
          namespace: ref.namespace,
          ownerReferences: [{ apiVersion: owner.apiVersion, kind: owner.kind, name: owner.metadata.name, uid: owner.metadata.uid }],
        },
        type: 'midship.dev/record',
        data: { record },
      },
    },
    { fieldManager, force: true },
  );
}

/** The app: its records go with it. */
export interface OwnerOf {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly uid?: string };
}
