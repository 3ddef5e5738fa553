/** The authenticated user of a request. */
export interface UserInfo {
  readonly name: string;
  readonly groups: readonly string[];
  readonly uid?: string;
  readonly extra?: Readonly<Record<string, readonly string[]>>;
  /** A component of this process, which calls without a transport. Set by the local client alone: no credentials lead to it. */
  readonly isLocal?: true;
}

/** The API server itself, when it makes what every cluster has. */
export const apiServerUser: UserInfo = { name: 'system:apiserver', groups: ['system:masters', 'system:authenticated'] };

/** True when the server itself writes; no name in a request from outside has this effect. */
export const isApiServer = (user: UserInfo): boolean =>
  user === apiServerUser || (user.isLocal === true && user.name === apiServerUser.name);
