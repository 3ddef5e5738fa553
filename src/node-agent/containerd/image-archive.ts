import { createHash } from 'node:crypto';

export interface ImageOptions {
  /** In full, with registry and tag: containerd expands short names to those of a public registry. */
  readonly name: string;
  /** As Go names it: `amd64`, `arm64`. */
  readonly architecture: string;
  /** `Entrypoint`, `Cmd`, `Env`, `User` and others of the image specification. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The one layer. */
  readonly files: readonly ArchiveEntry[];
}

export interface ArchiveEntry {
  /** Relative to the root, without `./`; at most 99 bytes. */
  readonly name: string;
  readonly content: Buffer;
  readonly mode: number;
  /** Makes the entry a symbolic link to this path. */
  readonly target?: string;
}

/**
 * An image as an OCI archive, which containerd imports without a registry.
 *
 * @see https://github.com/opencontainers/image-spec/blob/main/image-layout.md
 */
export function imageArchive({ name, architecture, config, files }: ImageOptions): Buffer {
  const platform = { architecture, os: 'linux' };
  const layer = tarOf(files);
  const image = json({ ...platform, config, rootfs: { type: 'layers', diff_ids: [digestOf(layer)] } });
  const manifest = json({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: descriptorOf(mediaTypes.config, image),
    layers: [descriptorOf(mediaTypes.layer, layer)],
  });
  const annotations = { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name.slice(name.lastIndexOf(':') + 1) };
  const index = json({ schemaVersion: 2, manifests: [{ ...descriptorOf(mediaTypes.manifest, manifest), annotations, platform }] });
  return tarOf([
    { name: 'oci-layout', content: json({ imageLayoutVersion: '1.0.0' }), mode: 0o644 },
    { name: 'index.json', content: index, mode: 0o644 },
    ...[layer, image, manifest].map((blob) => ({ name: `blobs/sha256/${hexOf(blob)}`, content: blob, mode: 0o644 })),
  ]);
}

const mediaTypes = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
} as const;

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const hexOf = (content: Buffer): string => createHash('sha256').update(content).digest('hex');
const digestOf = (content: Buffer): string => `sha256:${hexOf(content)}`;
const descriptorOf = (mediaType: string, content: Buffer) => ({ mediaType, digest: digestOf(content), size: content.length });

const blockBytes = 512;

/** Entries belong to root and have no time, so that the digest of the same content is always the same. */
function tarOf(entries: readonly ArchiveEntry[]): Buffer {
  const parts = entries.flatMap(({ name, content, mode, target }) => {
    const head = Buffer.alloc(blockBytes);
    head.write(name, 0, 99);
    head.write(`${octal(mode, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0${octal(content.length, 11)}\0${octal(0, 11)}\0`, 100);
    head.write('        ', 148);
    head.write(target === undefined ? '0' : '2', 156);
    if (target !== undefined) head.write(target, 157, 99);
    head.write('ustar\x0000', 257);
    const sum = head.reduce((total, byte) => total + byte, 0);
    head.write(`${octal(sum, 6)}\0 `, 148);
    return [head, content, Buffer.alloc((blockBytes - (content.length % blockBytes)) % blockBytes)];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * blockBytes)]);
}

const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, '0');
