import { isIP } from 'node:net';

interface SystemError extends Error {
  readonly code?: string;
  readonly address?: string;
  readonly port?: number;
  readonly hostname?: string;
  /** For a certificate with other names: the name that was wanted, and the certificate. */
  readonly host?: string;
  readonly cert?: { readonly subjectaltname?: string };
}

/** Says why a connection failed as Go's library says it, since people search for these texts in statuses and answers. */
export function networkErrorText(err: SystemError): string {
  const { code = '', address = '', port = 0, hostname = '' } = err;
  const where = `dial tcp ${isIP(address) === 6 ? `[${address}]` : address}:${port}`;
  switch (code) {
    case 'ECONNREFUSED':
      return `${where}: connect: connection refused`;
    case 'EHOSTUNREACH':
      return `${where}: connect: no route to host`;
    case 'ENETUNREACH':
      return `${where}: connect: network is unreachable`;
    case 'ENOTFOUND':
      return `dial tcp: lookup ${hostname}: no such host`;
    case 'ECONNRESET':
      return 'EOF';
    case 'ABORT_ERR':
      return err.cause instanceof Error && err.cause.name === 'TimeoutError' ? 'context deadline exceeded' : 'context canceled';
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
      return 'tls: failed to verify certificate: x509: certificate signed by unknown authority';
    case 'ERR_TLS_CERT_ALTNAME_INVALID': {
      const names = (err.cert?.subjectaltname ?? '').split(', ').map((name) => name.replace(/^(DNS|IP Address):/, ''));
      return `tls: failed to verify certificate: x509: certificate is valid for ${names.join(', ')}, not ${err.host ?? ''}`;
    }
    case 'CERT_HAS_EXPIRED':
      return 'tls: failed to verify certificate: x509: certificate has expired or is not yet valid';
    default:
      return alertText(err.message) ?? err.message;
  }
}

/** The alert of TLS in a message of OpenSSL, which is a line of names and numbers of its source; undefined for another message. */
function alertText(message: string): string | undefined {
  const alert = /:(?:tlsv\d+|sslv3|ssl\/tls) alert ([a-z ]+):/.exec(message)?.[1];
  return alert === undefined ? undefined : `remote error: tls: ${alert.replace(/^unknown ca$/, 'unknown certificate authority')}`;
}
