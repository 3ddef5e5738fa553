import type { DeviceSelector } from '../../api/resource/v1/device-requests.ts';
import type { Device } from '../../api/resource/v1/resource-slice.ts';
import { BoundedMap } from '../../base/bounded-map.ts';
import { type CelProgram, compileCel } from '../../machinery/cel/cel.ts';
import { CelCompileError, CelCostError, CelEvaluationError } from '../../machinery/cel/errors.ts';
import { dynType, stringType } from '../../machinery/cel/types.ts';

/** An expression that has no answer: the pod waits, and its condition says why. */
export class SelectorError extends Error {}

const maxPrograms = 256;
const programs = new BoundedMap<string, CelProgram | SelectorError>(maxPrograms);
const versionOf = compileCel('semver(text)', { variables: { text: stringType } });
const quantityOf = compileCel('quantity(text)', { variables: { text: stringType } });

/**
 * All selectors hold for the device.
 *
 * @throws SelectorError when one does not compile, or fails for this device
 * @see Kubernetes reference, "DeviceSelector", `cel.expression`
 */
export function isSelected(selectors: readonly DeviceSelector[], device: Device, driver: string): boolean {
  if (selectors.length === 0) return true;
  const variables = { device: { driver, ...factsOf(device, driver) } };
  return selectors.every(({ cel }) => {
    const source = cel?.expression ?? '';
    try {
      return programOf(source).evaluate(variables) === true;
    } catch (err) {
      if (err instanceof CelEvaluationError || err instanceof CelCostError) {
        throw new SelectorError(`selector ${JSON.stringify(source)}: ${err.message}`, { cause: err });
      }
      throw err;
    }
  });
}

function programOf(source: string): CelProgram {
  let program = programs.use(source);
  if (program === undefined) {
    try {
      program = compileCel(source, { variables: { device: dynType }, result: 'bool' });
    } catch (err) {
      if (!(err instanceof CelCompileError)) throw err;
      program = new SelectorError(`selector ${JSON.stringify(source)}: ${err.message}`, { cause: err });
    }
    programs.set(source, program);
  }
  if (program instanceof SelectorError) throw program;
  return program;
}

const factsByDevice = new WeakMap<Device, { readonly attributes: object; readonly capacity: object }>();

function factsOf(device: Device, driver: string) {
  const known = factsByDevice.get(device);
  if (known !== undefined) return known;
  const attributes = Object.entries(device.attributes ?? {}).map(([name, value]) => [name, attributeOf(value)] as const);
  const capacity = Object.entries(device.capacity ?? {}).map(([name, { value }]) => [name, quantityOf.evaluate({ text: value })] as const);
  const facts = { attributes: byDomain(attributes, driver), capacity: byDomain(capacity, driver) };
  factsByDevice.set(device, facts);
  return facts;
}

function attributeOf(value: Readonly<Record<string, unknown>>): unknown {
  if (typeof value.version !== 'string') return value.int ?? value.bool ?? value.string ?? null;
  return versionOf.evaluate({ text: value.version });
}

/** Values by domain and name. A domain without any is an empty map, so that an expression may ask for a name in it. */
function byDomain(entries: readonly (readonly [string, unknown])[], driver: string): object {
  const domains: Record<string, Record<string, unknown>> = {};
  for (const [qualified, value] of entries) {
    const slash = qualified.indexOf('/');
    const domain = slash < 0 ? driver : qualified.slice(0, slash);
    domains[domain] = { ...domains[domain], [qualified.slice(slash + 1)]: value };
  }
  const nothing = {};
  return new Proxy(domains, {
    get: (target, key) => (typeof key === 'string' && Object.hasOwn(target, key) ? target[key] : nothing),
    getOwnPropertyDescriptor: (target, key) =>
      Reflect.getOwnPropertyDescriptor(target, key) ?? { value: nothing, configurable: true, enumerable: false, writable: true },
  });
}
