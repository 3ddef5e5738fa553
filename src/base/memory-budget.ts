import { getHeapStatistics, setFlagsFromString } from 'node:v8';

/** Shares of the memory that the process may take. All parts fit into the heap when they are full at once. */
export interface MemoryBudget {
  readonly totalBytes: number;
  /** The share for the heap of V8; the rest is for the program itself and for what is on its way through sockets and files. */
  readonly heapBytes: number;
  /** Stored objects, as they are kept in memory. */
  readonly objectBytes: number;
  /** Former versions of objects, for watches that resume and lists of a past revision. */
  readonly windowBytes: number;
  /** Events that wait for the clients of watches. */
  readonly watchBytes: number;
  /** Requests and answers that are on their way. */
  readonly answerBytes: number;
}

const mebi = 1024 ** 2;
/** Taken by the program and an empty cluster. */
const programHeapBytes = 56 * mebi;
const heapShare = 0.75;
/** Memory outside of the heap: the store's cache, buffers, encrypted bytes on their way. */
const minNativeBytes = 64 * mebi;
/** A heap of less has no room for the parts. */
export const minMemoryBytes = 160 * mebi;
const maxWindowBytes = 64 * mebi;
/** The largest part of the heap that objects may be allowed; beyond it nothing else has room. */
const maxObjectShare = 0.5;

/** Heap that V8 may take without a flag: a quarter of the memory of the machine or the control group, 4 GiB at most. */
const nodeHeapBytes = (): number => getHeapStatistics().heap_size_limit;

/**
 * @param totalBytes  default: such that the heap is the one that Node has
 * @param objectBytes  default: a third of the budget, somewhat less of a small one
 */
export function shareMemory({ totalBytes = nodeHeapBytes() / heapShare, objectBytes }: MemoryWishes = {}): MemoryBudget {
  const heapBytes = Math.min(totalBytes * heapShare, totalBytes - minNativeBytes);
  const free = Math.max(heapBytes - programHeapBytes, 0);
  return {
    totalBytes,
    heapBytes,
    objectBytes: objectBytes ?? free * 0.4,
    windowBytes: Math.min(free / 10, maxWindowBytes),
    watchBytes: free / 10,
    answerBytes: free / 10,
  };
}

export interface MemoryWishes {
  readonly totalBytes?: number | undefined;
  readonly objectBytes?: number | undefined;
}

/**
 * Lets V8 collect when the heap has grown by half since the last collection (0039). Under a heap of gigabytes V8 waits
 * until more than four times as much is in use. A process with 160 MiB of live objects was resident with 1.3 GiB.
 */
export function boundHeapGrowth(): void {
  setFlagsFromString('--heap-growing-percent=50');
}

/** The largest quota for objects that leaves room for the rest. */
export const maxObjectBytes = ({ heapBytes }: MemoryBudget): number => Math.max(heapBytes - programHeapBytes, 0) * maxObjectShare;
