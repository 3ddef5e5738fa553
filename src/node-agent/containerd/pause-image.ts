import { imageArchive } from './image-archive.ts';

/** The name under which containerd finds the image of every sandbox; no registry has it. */
export const pauseImageName = 'localhost/midship-pause:1';

/**
 * The image whose one program holds a pod's namespaces, as an OCI archive; undefined for processors that it is not written for. Building it
 * here lets a machine without a registry run pods.
 */
export function pauseImage(architecture: NodeJS.Architecture): Buffer | undefined {
  if (architecture !== 'x64') return undefined;
  return imageArchive({
    name: pauseImageName,
    architecture: 'amd64',
    config: { Entrypoint: ['/pause'], WorkingDir: '/', User: '65535:65535' },
    files: [{ name: 'pause', content: pauseProgram(), mode: 0o755 }],
  });
}

/**
 * A static x86-64 program: it ignores SIGCHLD, so that the kernel reaps orphans of the pod, and waits forever.
 *
 * @see elf(5); Linux x86-64 system calls 13 (rt_sigaction) and 34 (pause)
 */
function pauseProgram(): Buffer {
  const base = 0x400000n;
  const headers = 64 + 56;
  const code = Buffer.from(
    [
      '31d2', // xor edx, edx          no old action
      '52', // push rdx                mask
      '52', // push rdx                restorer
      '52', // push rdx                flags
      '6a01', // push 1                SIG_IGN
      '4889e6', // mov rsi, rsp
      '6a115f', // push 17; pop rdi    SIGCHLD
      '6a08415a', // push 8; pop r10   size of the mask
      '6a0d58', // push 13; pop rax    rt_sigaction
      '0f05', // syscall
      '6a2258', // push 34; pop rax    pause
      '0f05', // syscall
      'ebf9', // jmp to the pause
    ].join(''),
    'hex',
  );
  const size = BigInt(headers + code.length);
  const header = Buffer.alloc(headers);
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  header.writeUInt16LE(2, 16); // an executable
  header.writeUInt16LE(62, 18); // x86-64
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(base + BigInt(headers), 24); // the entry
  header.writeBigUInt64LE(64n, 32); // program headers
  header.writeUInt16LE(64, 52);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  header.writeUInt32LE(1, 64); // one segment to load
  header.writeUInt32LE(5, 68); // to read and execute
  header.writeBigUInt64LE(base, 80);
  header.writeBigUInt64LE(base, 88);
  header.writeBigUInt64LE(size, 96);
  header.writeBigUInt64LE(size, 104);
  header.writeBigUInt64LE(0x1000n, 112);
  return Buffer.concat([header, code]);
}
