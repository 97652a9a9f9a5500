/**
 * What a node with a new, empty stream cannot get from its owners: its own records of before, and those of peers that are
 * dead. A living peer has copies of both; they are read there once.
 */
import { jetstreamManager } from "@nats-io/jetstream";
import type { Msg, NatsConnection } from "@nats-io/transport-node";
import { type StreamKind, subtree } from "../cluster/bus_subjects.ts";
import type { Intake } from "./intake.ts";
import { Feed } from "./nats_feed.ts";
import type { Heartbeat } from "./nats_peers.ts";

export interface CopyReader {
  readonly nc: NatsConnection;
  readonly group: string;
  readonly inbox: string;
  readonly timeoutMs: number;
  readonly intake: Intake;
  /** A record of the wanted nodes. */
  record(kind: StreamKind, msg: Msg): void;
  failed(error: Error): void;
}

/** Reads the subtrees of `nodes` in one stream of `peer`. Resolves when all of it was given; `close` ends it early. */
export function readCopies(reader: CopyReader, peer: Heartbeat, nodes: readonly number[], kind: StreamKind) {
  const feeds: Feed[] = [];
  let closed = false;
  const read = async (): Promise<void> => {
    const options = peer.domain === "" ? {} : { domain: peer.domain };
    const jsm = await jetstreamManager(reader.nc, { ...options, timeout: reader.timeoutMs, checkAPI: false });
    await Promise.all(
      nodes.map(
        (node) =>
          new Promise<void>((resolve) => {
            if (closed) return;
            const feed = new Feed({
              ...{ nc: reader.nc, jsm, stream: peer.streams[kind], inbox: reader.inbox, from: 1 },
              intake: reader.intake,
              // Whole when the server says that nothing more waits.
              goal: Number.MAX_SAFE_INTEGER,
              filter: `${subtree(reader.group, node, kind)}>`,
              record: (msg) => reader.record(kind, msg),
              caughtUp() {
                // Not from inside its own constructor.
                queueMicrotask(() => feed.close());
                resolve();
              },
              failed: reader.failed,
            });
            feeds.push(feed);
          }),
      ),
    );
  };
  return {
    done: read(),
    close() {
      closed = true;
      for (const feed of feeds) feed.close();
    },
  };
}
