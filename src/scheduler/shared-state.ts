/**
 * Makes state that the profiles of one scheduler share. Each profile has plugins of its own, yet a device, a volume or a claim that one of
 * them promised is promised to no other.
 *
 * @returns a function that gives the state of an `owner`, an object that all profiles of a scheduler have in common
 */
export function sharedState<T>(make: () => T): (owner: object) => T {
  const byOwner = new WeakMap<object, T>();
  return (owner) => {
    let known = byOwner.get(owner);
    if (known === undefined) {
      known = make();
      byOwner.set(owner, known);
    }
    return known;
  };
}
