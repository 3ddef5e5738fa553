import type { Scale } from '../api/autoscaling/v1/scale.ts';
import type { Patch } from '../client/client.ts';
import type { KubeObject } from '../machinery/object.ts';
import { notImplemented, StatusError } from '../machinery/status-error.ts';
import type { RequestInfo } from './kube-api.ts';
import { appliedScale, scaleOf, scalePathsOf, scaleView, withScale } from './registry/subresources.ts';
import type { Application, Modification } from './registry/writes.ts';

/** Translates the body of a subresource into a write of its object, and the object into an answer. */

/** The modification that a PUT or PATCH asks for. `change` makes what the client wants from what the subresource shows. */
export function modificationOf({ kind, subresource }: RequestInfo, change: (current: KubeObject) => KubeObject): Modification {
  if (subresource !== undefined && !kind.subresources.some(({ name }) => name === subresource)) throw noSuchSubresource();
  switch (subresource) {
    case undefined:
      return { part: 'main', change };
    case 'status':
    case 'finalize':
      return { part: subresource, change };
    case 'approval':
      return { part: 'status', subresource, change };
    case 'scale': {
      const paths = scalePathsOf(kind);
      if (paths === undefined) throw noSuchSubresource();
      return {
        part: 'main',
        subresource,
        view: scaleView(paths),
        change: (stored) => withScale(stored, change(scaleOf(stored, paths)) as Scale, paths),
      };
    }
    default: {
      const { part } = kind.subresources.find(({ name }) => name === subresource) ?? {};
      if (part === undefined) throw notImplemented(`updates of ${kind.resource}/${subresource}`);
      return { part: 'main', subresource, change: (stored) => part.take(stored, change(stored)) };
    }
  }
}

/** The write that an apply patch asks for. */
export function applicationOf({ kind, subresource, servedAs }: RequestInfo, { body }: Patch): Application {
  if (subresource !== undefined && !kind.subresources.some(({ name }) => name === subresource)) throw noSuchSubresource();
  switch (subresource) {
    case undefined:
      return { part: 'main', patch: body };
    case 'status':
      return { part: 'status', patch: body };
    case 'scale': {
      const paths = scalePathsOf(kind);
      if (paths === undefined) throw noSuchSubresource();
      return { part: 'main', subresource, view: scaleView(paths), patch: appliedScale(servedAs?.kind ?? kind, body, paths) };
    }
    default:
      throw notImplemented(`apply to ${kind.resource}/${subresource}`);
  }
}

/** The answer to a read or a write of a subresource: a Scale for `scale`, the object for the others. */
export function showBySubresource({ kind, subresource }: RequestInfo, object: KubeObject): KubeObject {
  const paths = subresource === 'scale' ? scalePathsOf(kind) : undefined;
  return paths === undefined ? object : scaleOf(object, paths);
}

export const noSuchSubresource = (): StatusError =>
  new StatusError({ code: 404, reason: 'NotFound', message: 'the server could not find the requested resource', details: {} });
