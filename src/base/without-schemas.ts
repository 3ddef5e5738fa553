import { invariant } from './invariant.ts';

/**
 * Options of both HTTP servers for fastify, none of whose routes has a schema: the compilers of schemas (ajv, fast-json-stringify), which it
 * would load at each start and which build.mjs leaves out of the program's file, stay on the disk.
 */
export const withoutSchemas = {
  schemaController: { compilersFactory: { buildValidator: refuse, buildSerializer: refuse } },
};

function refuse(): never {
  invariant(false, 'no route has a schema');
}
