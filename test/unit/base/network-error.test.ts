import { describe, expect, it } from 'vitest';
import { networkErrorText } from '../../../src/base/network-error.ts';

const errorOf = (fields: object): Error => Object.assign(new Error('as Node says it'), fields);

describe('errors of connections', () => {
  it('are worded as Go words them', () => {
    const at = { address: '192.0.2.1', port: 443 };
    expect(networkErrorText(errorOf({ code: 'ECONNREFUSED', ...at }))).toBe('dial tcp 192.0.2.1:443: connect: connection refused');
    expect(networkErrorText(errorOf({ code: 'EHOSTUNREACH', address: '2001:db8::1', port: 1 }))).toBe(
      'dial tcp [2001:db8::1]:1: connect: no route to host',
    );
    expect(networkErrorText(errorOf({ code: 'ENOTFOUND', hostname: 'a.example' }))).toBe('dial tcp: lookup a.example: no such host');
    const cert = { subjectaltname: 'DNS:a.svc, IP Address:192.0.2.1' };
    expect(networkErrorText(errorOf({ code: 'ERR_TLS_CERT_ALTNAME_INVALID', host: 'b.svc', cert }))).toBe(
      'tls: failed to verify certificate: x509: certificate is valid for a.svc, 192.0.2.1, not b.svc',
    );
    const alert =
      '4082:error:0A000418:SSL routines:ssl3_read_bytes:tlsv1 alert unknown ca:ssl/record/rec_layer_s3.c:1601:SSL alert number 48\n';
    expect(networkErrorText(new Error(alert))).toBe('remote error: tls: unknown certificate authority');
    expect(networkErrorText(errorOf({ code: 'EODD' }))).toBe('as Node says it');
  });
});
