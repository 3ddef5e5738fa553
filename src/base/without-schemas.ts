import { invariant } from './invariant.ts';

/**
 * Options of both HTTP servers for fastify. No route here has a schema, so the compilers of schemas (ajv,
 * fast-json-stringify) stay on the disk. Otherwise fastify would load them at each start. Therefore build.mjs leaves them out of the
 * program's file.
 */
export const withoutSchemas = {
  schemaController: { compilersFactory: { buildValidator: refuse, buildSerializer: refuse } },
};

function refuse(): never {
  invariant(false, 'no route has a schema');
}
