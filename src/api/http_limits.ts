/**
 * What one connection to the control socket may take of the daemon: bytes, time, and how many there are. Whoever may open
 * the socket may stop the daemon anyhow; the limits are for programs that hang or err, and so that a mistake is answered.
 */
import type { Server } from "node:http";
import type { Socket } from "node:net";
import type { FastifyHttpOptions } from "fastify";

/** The largest request is a client with its lists. */
export const BODY_BYTES_MAX = 64 * 1024;
/** The longest path names a client of 64 characters. */
const HEADER_BYTES_MAX = 8 * 1024;
/** A request of that size comes at once over a Unix socket; a program that needs longer has stopped in the middle. */
export const REQUEST_MS = 10_000;
/** Readers of events, and a few commands at once; further ones are closed at once. */
export const CONNECTIONS_MAX = 256;
const KEEP_ALIVE_MS = 5000;

/** Options for fastify. `requestMs`: for a whole request to come. */
export function httpLimits(requestMs: number) {
  return {
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: requestMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    http: {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: requestMs,
      connectionsCheckingInterval: Math.min(1000, requestMs),
    },
    clientErrorHandler: answerByHand,
  } satisfies FastifyHttpOptions<Server>;
}

/** What is no HTTP, or too slow, or too long, reaches no route: the answer is written to the socket itself. */
function answerByHand(error: NodeJS.ErrnoException, socket: Socket): void {
  // The other end is gone, or an answer is under way.
  if (error.code === "ECONNRESET" || !socket.writable || socket.bytesWritten > 0) {
    socket.destroy();
    return;
  }
  const [status, code, message] = refusalOf(error.code);
  const body = JSON.stringify({ error: code, message });
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
  // Whoever does not close its end is not waited for.
  socket.destroySoon();
}

function refusalOf(code: string | undefined): readonly [string, string, string] {
  if (code === "ERR_HTTP_REQUEST_TIMEOUT")
    return ["408 Request Timeout", "too_slow", `A request must be complete after ${REQUEST_MS / 1000} s.`];
  if (code === "HPE_HEADER_OVERFLOW")
    return [
      "431 Request Header Fields Too Large",
      "too_large",
      `Path and headers have at most ${HEADER_BYTES_MAX} bytes.`,
    ];
  return ["400 Bad Request", "bad_request", "This is no HTTP request that the daemon understands."];
}
