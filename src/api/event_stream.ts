/**
 * GET /v1/events: one JSON object a line, as things happen. A reader that does not read loses lines and is told how
 * many; it never costs more than QUEUE_BYTES_MAX.
 */
import type { FastifyReply } from "fastify";
import type { Control } from "../control/asked/control_port.ts";

export const EVENTS_TYPE = "application/x-ndjson";
const QUEUE_BYTES_MAX = 256 * 1024;
/** An empty line now and then: a reader that is gone is noticed, and a living one knows that the daemon lives. */
const BEAT_MS = 15_000;

/** Returns `reply`, which is answered by hand. Throws AnyhopError "too_many". */
export function streamEvents(source: Pick<Control, "follow">, reply: FastifyReply): FastifyReply {
  const { raw } = reply;
  let lost = 0;
  const write = (line: object): boolean => {
    if (raw.writableLength > QUEUE_BYTES_MAX) return false;
    raw.write(`${JSON.stringify(line)}\n`);
    return true;
  };
  const stop = source.follow((event) => {
    if (lost > 0 && write({ timeMs: event.timeMs, event: "lost", message: `${lost} lines were lost` })) lost = 0;
    if (lost > 0 || !write(event)) lost += 1;
  });
  reply.hijack();
  raw.writeHead(200, { "content-type": EVENTS_TYPE, "cache-control": "no-store" });
  raw.flushHeaders();
  const beat = setInterval(() => raw.write("\n"), BEAT_MS);
  raw.on("close", () => {
    clearInterval(beat);
    stop();
  });
  return reply;
}
