import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/**
 * Reads files that somebody else may have written, or replaced by another kind of file. A read takes at most `maxBytes`, follows no link,
 * and never waits for the other end of a pipe.
 */

/**
 * The whole of a file.
 *
 * @throws Error of the file system; also when the file is no regular file, or has more than `maxBytes`
 */
export async function readBoundedFile(path: string, maxBytes: number): Promise<Buffer> {
  const file = await openRegular(path);
  try {
    // The read asks for a byte more than allowed, since the file may have grown after `stat`.
    const content = await readFrom(file, 0, maxBytes + 1);
    if (content.length > maxBytes) throw new Error(`${path} has more than ${maxBytes} bytes`);
    return content;
  } finally {
    await file.close();
  }
}

/** The last bytes of a file, at most `maxBytes`. @throws as `readBoundedFile` */
export async function readFileTail(path: string, maxBytes: number): Promise<Buffer> {
  const file = await openRegular(path);
  try {
    const { size } = await file.stat();
    return await readFrom(file, Math.max(0, size - maxBytes), maxBytes);
  } finally {
    await file.close();
  }
}

async function openRegular(path: string): Promise<FileHandle> {
  // Without O_NONBLOCK the open of a named pipe would hold a thread until a writer comes.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) throw new Error(`${path} is not a regular file`);
    return file;
  } catch (err) {
    await file.close();
    throw err;
  }
}

async function readFrom(file: FileHandle, position: number, maxBytes: number): Promise<Buffer> {
  const { size } = await file.stat();
  const buffer = Buffer.allocUnsafe(Math.min(maxBytes, Math.max(0, size - position)));
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, position + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}
