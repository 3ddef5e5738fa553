import { statfs } from 'node:fs/promises';

/** Space of the file system that holds the pods' volumes and logs. */
export interface FileSystemSpace {
  readonly sizeBytes: number;
  /** Bytes that an ordinary user can still write. */
  readonly availableBytes: number;
}

export async function measureFileSystem(path: string): Promise<FileSystemSpace> {
  const { blocks, bavail, bsize } = await statfs(path);
  return { sizeBytes: blocks * bsize, availableBytes: bavail * bsize };
}
