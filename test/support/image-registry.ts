import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ImageRegistry {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** Manifests that were served, as `NAME:TAG`, in the order of the requests; those that only asked for the digest count, too. */
  readonly pulls: readonly string[];
  /** Values of Authorization that came, each once. */
  readonly credentials: ReadonlySet<string>;
  close(): Promise<void>;
}

export interface ImageRegistryOptions {
  /** Archives in the OCI layout, by `NAME:TAG`. */
  readonly images: Readonly<Record<string, Buffer>>;
  /** Absent: everybody may pull. */
  readonly login?: { readonly username: string; readonly password: string };
}

/**
 * The reading side of a registry, on plain HTTP.
 *
 * @see https://github.com/opencontainers/distribution-spec
 */
export async function startImageRegistry({ images, login }: ImageRegistryOptions): Promise<ImageRegistry> {
  const blobs = new Map<string, Buffer>();
  const manifests = new Map<string, Buffer>();
  for (const [name, archive] of Object.entries(images)) {
    const files = filesOf(archive);
    for (const content of files.values()) blobs.set(digestOf(content), content);
    const index = JSON.parse(files.get('index.json')?.toString('utf8') ?? '') as {
      readonly manifests: readonly { readonly digest: string }[];
    };
    const manifest = blobs.get(index.manifests[0]?.digest ?? '');
    if (manifest === undefined) throw new Error(`the archive of ${name} has no manifest`);
    manifests.set(name, manifest);
  }
  const pulls: string[] = [];
  const credentials = new Set<string>();
  const wanted = login === undefined ? undefined : `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`;
  const server = createServer((request, response) => {
    const { authorization } = request.headers;
    if (authorization !== undefined) credentials.add(authorization);
    if (wanted !== undefined && authorization !== wanted) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="test"', 'content-type': 'application/json' });
      response.end('{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}');
      return;
    }
    const { pathname } = new URL(request.url ?? '', 'http://registry');
    const [, name = '', kind, reference = ''] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(pathname) ?? [];
    const tagged = manifests.get(`${name}:${reference}`);
    if (tagged !== undefined) pulls.push(`${name}:${reference}`);
    const content = pathname === '/v2/' ? Buffer.from('{}') : (tagged ?? blobs.get(reference));
    if (content === undefined) {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}');
      return;
    }
    response.writeHead(200, {
      'content-type': kind === 'manifests' ? 'application/vnd.oci.image.manifest.v1+json' : 'application/octet-stream',
      'content-length': content.length,
      'docker-content-digest': digestOf(content),
    });
    response.end(request.method === 'HEAD' ? undefined : content);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    pulls,
    credentials,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const digestOf = (content: Buffer): string => `sha256:${createHash('sha256').update(content).digest('hex')}`;

function filesOf(archive: Buffer): ReadonlyMap<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (let at = 0; at + 512 <= archive.length; ) {
    const name = archive.toString('utf8', at, at + 100).replace(/\0.*$/s, '');
    if (name === '') break;
    const size = Number.parseInt(archive.toString('latin1', at + 124, at + 135), 8);
    files.set(name, archive.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}
