import { type Secret, secrets } from '../api/core/v1/secret.ts';
import { type ServiceAccount, serviceAccounts } from '../api/core/v1/service-account.ts';
import { annotations } from '../api/well-known.ts';
import { keyOf } from '../machinery/object.ts';
import { isConflict, isNotFound } from '../machinery/status-error.ts';
import type { Controller, ReconcileContext } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createInformedController } from '../reconcile/informed-controller.ts';

export interface TokenSecretOptions extends ControllerDependencies {
  /** The certificate of the cluster's CA, PEM. */
  readonly caCertificate: string;
  /** Signs a token of the account that is good as long as the Secret holds it. */
  readonly issueToken: (account: ServiceAccount, secretName: string) => Promise<string>;
}

const byAccount = 'token-secret-account';

/**
 * Fills Secrets of type `kubernetes.io/service-account-token` with a token of the account that they name. Deletes those whose account
 * is gone, so that the token ends with either.
 *
 * @see Kubernetes tasks, "Configure Service Accounts", "Manually create an API token for a ServiceAccount"
 */
export function createTokenSecretController(options: TokenSecretOptions): Controller {
  const { client, informers, caCertificate, issueToken } = options;
  const accountInformer = informers.get(serviceAccounts);
  const secretInformer = informers.get(secrets, { fieldSelector: 'type=kubernetes.io/service-account-token' });
  secretInformer.addIndex(byAccount, accountKeysOf);
  const wanted = Buffer.from(caCertificate).toString('base64');

  const controller = createInformedController(options, {
    name: 'serviceaccount-tokens',
    workers: 4,
    reconcile,
  });
  secretInformer.addHandler(({ after }) => {
    if (after !== undefined) controller.enqueue(keyOf(after));
  });
  accountInformer.addHandler(({ before, after }) => {
    if (before !== undefined && after !== undefined && before.metadata.uid === after.metadata.uid) return;
    const account = after ?? before;
    if (account !== undefined) for (const secret of secretInformer.byIndex(byAccount, keyOf(account))) controller.enqueue(keyOf(secret));
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<undefined> {
    const secret = secretInformer.getByKey(key);
    if (secret === undefined || secret.metadata.deletionTimestamp !== undefined) return;
    const account = await accountOf(secret, signal);
    try {
      if (account === undefined) await remove(secret, signal);
      else await fill(secret, account, signal);
    } catch (err) {
      // It was deleted or made again meanwhile.
      if (!isNotFound(err)) throw err;
    }
  }

  /** Asks the server before it says that there is none: what is deleted for want of an account does not come back. */
  async function accountOf({ metadata }: Secret, signal: AbortSignal): Promise<ServiceAccount | undefined> {
    const { [annotations.serviceAccountName]: name = '', [annotations.serviceAccountUid]: uid } = metadata.annotations ?? {};
    const ref = { namespace: metadata.namespace, name };
    const isMeant = (account: ServiceAccount | undefined): boolean =>
      account !== undefined && (uid === undefined || uid === '' || uid === account.metadata.uid);
    const cached = accountInformer.get(ref);
    if (isMeant(cached)) return cached;
    try {
      const stored = await client.get(serviceAccounts, ref, { signal });
      return isMeant(stored) ? stored : undefined;
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  async function remove({ metadata: { namespace, name, uid } }: Secret, signal: AbortSignal): Promise<void> {
    try {
      await client.delete(secrets, { namespace, name }, { signal, ...(uid === undefined ? {} : { preconditions: { uid } }) });
    } catch (err) {
      if (!isConflict(err)) throw err;
    }
  }

  async function fill(secret: Secret, account: ServiceAccount, signal: AbortSignal): Promise<void> {
    const { data = {}, metadata } = secret;
    const { namespace = '', name } = metadata;
    const isFilled = data['ca.crt'] === wanted && (data.namespace ?? '') !== '' && (data.token ?? '') !== '';
    if (isFilled || secret.immutable === true) return;
    const token = (data.token ?? '') === '' ? Buffer.from(await issueToken(account, name)).toString('base64') : data.token;
    const filled = {
      ...secret,
      metadata: {
        ...metadata,
        annotations: {
          ...metadata.annotations,
          [annotations.serviceAccountName]: account.metadata.name,
          [annotations.serviceAccountUid]: account.metadata.uid ?? '',
        },
      },
      data: {
        ...data,
        'ca.crt': wanted,
        namespace: (data.namespace ?? '') === '' ? Buffer.from(namespace).toString('base64') : (data.namespace ?? ''),
        token: token ?? '',
      },
    };
    await client.update(secrets, filled, { signal });
  }
}

function accountKeysOf({ metadata }: Secret): readonly string[] {
  const name = metadata.annotations?.[annotations.serviceAccountName];
  return name === undefined ? [] : [`${metadata.namespace ?? ''}/${name}`];
}
