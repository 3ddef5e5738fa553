import { secrets } from '../../../api/core/v1/secret.ts';
import { secretValuesIn } from '../../../api/core/v1/secret-values.ts';
import { kustomizations } from '../../../api/kustomize/v1/kustomization.ts';
import type { Log } from '../../../base/log.ts';
import type { Redactor } from '../../../base/redactor.ts';
import type { Client } from '../../../client/client.ts';
import { tryGet } from '../../../client/try-get.ts';
import { type KubeObject, keyOf, type ObjectRef } from '../../../machinery/object.ts';
import type { BuildError } from '../../manifests/manifest.ts';

/** Takes values of Secrets out of messages of one app. */
export interface Redaction {
  text(text: string): string;
  quoted(text: string): string;
}

export function redactionOf(redactor: Redactor, app: Pick<KubeObject, 'metadata'>): Redaction {
  const owner = keyOf(app);
  return { text: (text) => redactor.text(text, owner), quoted: (text) => redactor.quoted(text, owner) };
}

/** Errors that name objects, and repeat none of their values. */
export const withoutSecrets = (errors: readonly BuildError[], { text }: Redaction): readonly BuildError[] =>
  errors.map((error) => ({ ...error, message: text(error.message) }));

/**
 * Gives the redactor the values that apps have from Secrets before any message leaves. After a restart, pods and their Events come before
 * the first build of an app.
 */
export async function learnSecrets({ client, redactor, log }: LearnOptions): Promise<void> {
  const formsBySecret = new Map<string, readonly string[]>();
  const formsIn = async (ref: ObjectRef): Promise<readonly string[]> => {
    const secret = await tryGet(client, secrets, ref);
    return secret === undefined ? [] : secretValuesIn(secret);
  };
  for (const app of (await client.list(kustomizations)).items) {
    try {
      for (const { kind, name } of app.spec.postBuild?.substituteFrom ?? []) {
        if (kind !== 'Secret') continue;
        const ref = { namespace: app.metadata.namespace, name };
        const key = `${app.metadata.namespace}/${name}`;
        const forms = formsBySecret.get(key) ?? (await formsIn(ref));
        formsBySecret.set(key, forms);
        redactor.add(keyOf(app), forms);
      }
    } catch (err) {
      // A value that cannot be read here cannot be put into an object either.
      log.warn({ kustomization: keyOf(app), err }, 'Could not read Secrets of app');
    }
  }
}

export interface LearnOptions {
  readonly client: Client;
  readonly redactor: Redactor;
  readonly log: Log;
}
