import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';
import type { GrpcMethod } from '../base/grpc.ts';

/** Names of the messages of a call, in the package of its file. */
export interface MessageNames {
  readonly request: string;
  readonly response: string;
}

/** The calls of a protobuf file. `path` is `Service/Method`; messages are plain objects, and long numbers are what a double holds. */
export type ProtobufMethods = <Request, Response>(path: string, names: MessageNames) => GrpcMethod<Request, Response>;

/** @param file  read once, at the call; every message of it is in one package */
export function readProtobufMethods(file: URL): ProtobufMethods {
  const parsed = protobuf.parse(readFileSync(fileURLToPath(file), 'utf8'), new protobuf.Root());
  const { root, package: packageName = '' } = parsed;
  return <Request, Response>(path: string, { request, response }: MessageNames): GrpcMethod<Request, Response> => {
    const requestType = root.lookupType(`${packageName}.${request}`);
    const responseType = root.lookupType(`${packageName}.${response}`);
    return {
      path: `/${packageName}.${path}`,
      encode: (message) => requestType.encode(requestType.fromObject(message as Record<string, unknown>)).finish(),
      decode: (bytes) =>
        responseType.toObject(responseType.decode(bytes), { longs: Number, enums: String, defaults: true }) as unknown as Response,
    };
  };
}
