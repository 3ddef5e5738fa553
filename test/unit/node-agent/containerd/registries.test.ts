import { describe, expect, it } from 'vitest';
import { authText, hostsFiles, parseRegistries, RegistriesError } from '../../../../src/node-agent/containerd/registries.ts';

const text = `
mirrors:
  docker.io:
    endpoint:
      - "https://mirror.example.com:5000"
      - http://plain.example.com/v2/proxy
  "*":
    endpoint: [ "https://mirror.example.com:5000" ]
configs:
  "mirror.example.com:5000":
    auth: { username: reader, password: 12345 }
    tls:
      ca_file: /etc/ssl/own.pem
      cert_file: /etc/ssl/client.pem
      key_file: /etc/ssl/client.key
  registry.example.com:
    tls: { insecure_skip_verify: true }
  docker.io:
    auth: { auth: "bWU6Ig==" , identity_token: "a\\"b" }
`;

describe('registries.yaml', () => {
  it('becomes files for containerd, with the certificates of each mirror', () => {
    const files = hostsFiles(parseRegistries(text));
    expect([...files.keys()]).toEqual([
      'docker.io/hosts.toml',
      '_default/hosts.toml',
      'mirror.example.com:5000/hosts.toml',
      'registry.example.com/hosts.toml',
    ]);
    expect(files.get('docker.io/hosts.toml')).toBe(
      [
        'server = "https://registry-1.docker.io"',
        '',
        '[host."https://mirror.example.com:5000"]',
        '  capabilities = ["pull", "resolve"]',
        '  ca = "/etc/ssl/own.pem"',
        '  client = [["/etc/ssl/client.pem", "/etc/ssl/client.key"]]',
        '',
        '[host."http://plain.example.com/v2/proxy"]',
        '  capabilities = ["pull", "resolve"]',
        '  override_path = true',
        '',
      ].join('\n'),
    );
    expect(files.get('_default/hosts.toml')).not.toContain('server');
    expect(files.get('registry.example.com/hosts.toml')).toBe('server = "https://registry.example.com"\nskip_verify = true\n');
  });

  it('gives its passwords to the configuration alone, and escapes them', () => {
    const registries = parseRegistries(text);
    expect([...hostsFiles(registries).values()].join()).not.toContain('12345');
    const auth = authText(registries, 'plugins.cri');
    expect(auth).toContain(
      '[plugins.cri.registry.configs."mirror.example.com:5000".auth]\n      username = "reader"\n      password = "12345"',
    );
    expect(auth).toContain(
      '[plugins.cri.registry.configs."registry-1.docker.io".auth]\n      auth = "bWU6Ig=="\n      identitytoken = "a\\"b"',
    );
  });

  it('may be empty', () => {
    expect(hostsFiles(parseRegistries('')).size).toBe(0);
    expect(hostsFiles(parseRegistries('mirrors:\nconfigs:\n')).size).toBe(0);
  });

  it.each([
    ['mirrors:\n  docker.io:\n    endpoint: [ftp://x]\n', 3, 'an endpoint is http://'],
    ['mirrors:\n  docker.io:\n    endpoint: ["https://me:secret@x"]\n', 3, 'without a password'],
    ['mirrors:\n  docker.io:\n    endpoint: https://x\n', 3, 'endpoint is no list'],
    ['mirrors:\n  docker.io:\n    rewrite: { a: b }\n', 3, 'rewrites are not supported'],
    ['mirrors:\n  docker.io: {}\n  ../../etc: {}\n', 3, 'a registry is HOST or HOST:PORT'],
    ['configs:\n  a.example:\n    auth:\n      user: x\n', 4, 'user is not known here'],
    ['configs:\n  a.example:\n    tls:\n      cert_file: x\n', 3, 'cert_file and key_file need each other'],
    ['configs:\n  a.example:\n    tls: { insecure_skip_verify: "yes" }\n', 3, 'neither true nor false'],
    ['mirors: {}\n', 1, 'mirors is not known here'],
    ['mirrors:\n\t- x\n', 2, ''],
    ['[]\n', 1, 'it is no map'],
  ])('%j is refused by line and reason', (broken, line, why) => {
    const refusal = (() => {
      try {
        return parseRegistries(broken);
      } catch (err) {
        return err;
      }
    })();
    expect(refusal).toBeInstanceOf(RegistriesError);
    expect(refusal).toMatchObject({ line, message: expect.stringContaining(why), fix: expect.stringMatching(/./) });
    expect(String(refusal)).not.toContain('secret');
  });
});
