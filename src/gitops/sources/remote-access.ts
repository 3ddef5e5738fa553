/**
 * Access to a remote repository: credentials, trusted authorities and proxy. Never logged and never part of a message.
 */
export interface RemoteAccess {
  readonly username?: string;
  readonly password?: string;
  readonly bearerToken?: string;
  /** PEM of the certificate authority of the server. */
  readonly ca?: string;
  /** PEM of a client certificate and its key. */
  readonly clientCertificate?: { readonly certificate: string; readonly key: string };
  readonly proxy?: ProxyAccess;
  readonly ssh?: SshAccess;
}

export interface ProxyAccess {
  /** `http://host:port` or `https://host:port`. */
  readonly address: string;
  readonly username?: string;
  readonly password?: string;
}

export interface SshAccess {
  /** Private key without a passphrase. */
  readonly identity: string;
  /** Lines of a known_hosts file; a host that is not among them is not talked to. */
  readonly knownHosts: string;
}
