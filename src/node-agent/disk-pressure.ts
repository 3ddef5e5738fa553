import { statfs } from 'node:fs/promises';

/** Space of the file system that holds the pods' volumes and logs. */
export interface FileSystemSpace {
  readonly sizeBytes: number;
  /** Bytes that an ordinary user can still write. */
  readonly availableBytes: number;
  /** Absent on a file system that makes inodes as it needs them. */
  readonly inodes?: { readonly all: number; readonly free: number };
}

export async function measureFileSystem(path: string): Promise<FileSystemSpace> {
  const { blocks, bavail, bsize, files, ffree } = await statfs(path);
  const space = { sizeBytes: blocks * bsize, availableBytes: bavail * bsize };
  return files === 0 ? space : { ...space, inodes: { all: files, free: ffree } };
}
