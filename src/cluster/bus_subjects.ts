/**
 * Names of the state engine in NATS: which subject a key of a node has, and what the daemon of a node may publish. One
 * place, because the driver uses them and `anyhop init engine` grants them. A node writes below its own number only:
 *
 *   st.GROUP.NODE.l.k.KEY   live records    st.GROUP.NODE.l.h   heartbeat in the stream of live records
 *   st.GROUP.NODE.b.k.KEY   the book        st.GROUP.NODE.b.h   heartbeat in the stream of the book
 *   sh.GROUP.NODE.s|h|q     shouts, heartbeats, the question for heartbeats: not kept
 */
import { LASTING } from "./bus.ts";

/** Which of a node's two streams: live records, which are forgotten, or the book, which is not. */
export type StreamKind = "l" | "b";

export const kindOf = (key: string): StreamKind => (LASTING.some((prefix) => key.startsWith(prefix)) ? "b" : "l");

/** Dots divide subjects; names of groups may hold them, and no "~". */
export const groupToken = (group: string): string => group.replaceAll(".", "~");
/** Everything that a node writes into one of its streams. */
export const subtree = (group: string, node: number, kind: StreamKind): string =>
  `st.${groupToken(group)}.${node}.${kind}.`;
/** The prefix of what is not kept, of one node or (with "*") of all. */
export const shouts = (group: string, node: number | "*"): string => `sh.${groupToken(group)}.${node}.`;
/** Answers to a node's own requests and the records of its own feeds come here. */
export const inbox = (group: string, node: number): string => `_INBOX.${groupToken(group)}.${node}`;
/** Beginning of the name of a node's stream; what follows tells one life of the stream from the next. */
export const streamName = (group: string, node: number, kind: StreamKind): string =>
  `anyhop-${groupToken(group)}-${node}-${kind === "l" ? "live" : "book"}-`;

/** What the daemon of a node may do at its own server; everything else is refused there. */
export function busRights(group: string, node: number): { publish: string[]; subscribe: string[] } {
  const token = groupToken(group);
  return {
    // The JetStream of its own island, and reading the copies of others.
    publish: [`st.${token}.${node}.>`, `sh.${token}.${node}.>`, "$JS.API.>", "$JS.FC.>", "$JS.*.API.CONSUMER.CREATE.>"],
    subscribe: [`sh.${token}.>`, `${inbox(group, node)}.>`],
  };
}
