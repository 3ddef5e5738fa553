/** Bounds of the proxy; tests have smaller ones. */
export interface Limits {
  /** Bytes of a request's line and headers. */
  readonly headBytes: number;
  /** Open connections of clients, for each port. */
  readonly connections: number;
  /** Requests and streams under way. */
  readonly requests: number;
  /** Streams of one HTTP/2 connection at the same time. */
  readonly streams: number;
  /** Connections to endpoints: of all, and to one. */
  readonly endpointConnections: number;
  readonly connectionsPerEndpoint: number;
  /** Time for a TLS handshake, and for the head of a request. */
  readonly headMs: number;
  /** Time between two requests of a connection. */
  readonly keepAliveMs: number;
  /** Time to reach an endpoint; also to wait for a place in the pool. */
  readonly connectMs: number;
  /** Time in which nothing moves before an answer begins. */
  readonly answerMs: number;
  /** Time in which nothing of a body moves, either way. */
  readonly idleMs: number;
  /** The same after a change of the protocol, as to WebSocket. */
  readonly upgradedIdleMs: number;
  /** A connection to an endpoint is kept for so long: shorter than most servers keep it. */
  readonly pooledMs: number;
  /** Time for requests under way when the proxy stops. */
  readonly drainMs: number;
}

export const defaultLimits: Limits = {
  headBytes: 32 * 1024,
  connections: 4_096,
  requests: 8_192,
  streams: 100,
  endpointConnections: 2_048,
  connectionsPerEndpoint: 512,
  headMs: 15_000,
  keepAliveMs: 60_000,
  connectMs: 3_000,
  answerMs: 60_000,
  idleMs: 300_000,
  upgradedIdleMs: 3_600_000,
  pooledMs: 4_000,
  drainMs: 5_000,
};
