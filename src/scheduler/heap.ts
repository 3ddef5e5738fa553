/** A binary heap: the item that comes first by `isBefore` is on top. Items may be taken out from anywhere by identity. */
export interface Heap<T extends object> {
  push(item: T): void;
  peek(): T | undefined;
  pop(): T | undefined;
  remove(item: T): boolean;
}

export function createHeap<T extends object>(isBefore: (a: T, b: T) => boolean): Heap<T> {
  const items: T[] = [];
  const places = new Map<T, number>();

  function put(index: number, item: T): void {
    items[index] = item;
    places.set(item, index);
  }

  function rise(from: number): void {
    let index = from;
    const item = items[index];
    if (item === undefined) return;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const other = items[above];
      if (other === undefined || !isBefore(item, other)) break;
      put(index, other);
      index = above;
    }
    put(index, item);
  }

  function sink(from: number): void {
    let index = from;
    const item = items[index];
    if (item === undefined) return;
    for (;;) {
      let first = index;
      let firstItem = item;
      for (let child = 2 * index + 1; child <= 2 * index + 2; child += 1) {
        const other = items[child];
        if (other !== undefined && isBefore(other, firstItem)) {
          first = child;
          firstItem = other;
        }
      }
      if (first === index) break;
      put(index, firstItem);
      index = first;
    }
    put(index, item);
  }

  function removeAt(index: number): T | undefined {
    const item = items[index];
    const last = items.pop();
    if (item === undefined || last === undefined) return undefined;
    places.delete(item);
    if (item !== last) {
      put(index, last);
      rise(index);
      sink(places.get(last) ?? index);
    }
    return item;
  }

  return {
    push(item) {
      if (places.has(item)) return;
      put(items.length, item);
      rise(items.length - 1);
    },
    peek: () => items[0],
    pop: () => removeAt(0),
    remove(item) {
      const index = places.get(item);
      if (index === undefined) return false;
      removeAt(index);
      return true;
    },
  };
}
