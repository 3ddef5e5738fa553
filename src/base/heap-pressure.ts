import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';

/**
 * Measures how full the heap is, by what each full collection leaves: the figure at any other moment includes what the next collection
 * frees. It still holds when the parts of the memory budget are counted too low.
 */
export interface HeapPressure {
  readonly isHigh: boolean;
  stop(): void;
}

/** V8 ends a process whose collections free nothing once four fifths of the heap are in use. */
const highShare = 0.72;

export interface HeapPressureOptions {
  readonly heapBytes: number;
  /** Called after each full collection that leaves too much: what can be forgotten should be. */
  onHigh(): void;
}

export function watchHeapPressure({ heapBytes, onHigh }: HeapPressureOptions): HeapPressure {
  let isHigh = false;
  const observer = new PerformanceObserver((entries) => {
    if (!entries.getEntries().some(isFullCollection)) return;
    isHigh = getHeapStatistics().used_heap_size > heapBytes * highShare;
    if (isHigh) onHigh();
  });
  observer.observe({ entryTypes: ['gc'] });
  return {
    get isHigh() {
      return isHigh;
    },
    stop: () => observer.disconnect(),
  };
}

const isFullCollection = (entry: PerformanceEntry & { readonly detail?: { readonly kind?: number } }): boolean =>
  entry.detail?.kind === constants.NODE_PERFORMANCE_GC_MAJOR;
