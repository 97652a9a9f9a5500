/**
 * The seam between the supervisor, which owns a shard, and what makes sessions on it: a node's responder or a client's
 * initiator. Decodes what the data plane hands over and gives out rows of the tunnel table.
 */
import type { AnyhopError } from "../../base/errors.ts";
import { type Remote, remoteOf } from "../../base/ip.ts";
import { CONTROL_WORDS } from "../../dataplane/control_ring.ts";
import type { Lease } from "../../dataplane/lease.ts";
import type { TunnelTable } from "../../dataplane/tunnels.ts";
import type { ToShard, Yielded } from "../../shard/messages.ts";

/** One entry of the control ring. */
export interface Handed {
  /** CONTROL_DATAGRAM, UNKNOWN_SESSION, SESSION_CONTROL, HELD or HELD_UNKNOWN. */
  readonly kind: number;
  readonly row: number;
  readonly detail: number;
  readonly bytes: Uint8Array;
  readonly from: Remote;
  /** Outer TOS or traffic class byte. */
  readonly tos: number;
}

/** What the supervisor gives once the shard runs. */
export interface ShardPort {
  post(message: ToShard): void;
  readonly tunnels: TunnelTable;
  readonly deviceName: string;
  /**
   * What sends to an address of this family, as `sock` of a datagram: from the own address with the mark `asked`
   * (cluster/endpoint.ts), else from the first service address, else the kernel chooses. -1: no socket of the family.
   */
  socketFor(family: 4 | 6, asked?: number): number;
  /** Mark of the own address that a datagram with this `sock` was sent to; 0: not known. */
  askedBy?(sock: number): number;
}

export interface SessionEnd {
  readonly side: "node" | "client";
  /** A node that is one of several with the same sessions. */
  readonly group?: boolean;
  /** Addresses of this node that others have, too: what goes to clients comes from one of them. */
  readonly serviceAddresses?: readonly string[];
  /** Of a node: keys of the check in session indices, the present one first. */
  readonly indexKeys?: readonly Uint8Array[];
  /** Of a node: key of the tags of its cookies. */
  readonly cookieTagKey?: Uint8Array;
  /** Of such a node: whether it may act as the owner of sessions. */
  readonly lease?: Lease | undefined;
  /** Rows of the tunnel table to keep free for sessions. */
  readonly rows: number;
  /** Called before packets flow; `firstRow`: rows from there on are for sessions. */
  start(shard: ShardPort, firstRow: number): void;
  handed(entry: Handed): void;
  /** First authentic packet in this row. */
  confirmed(row: number): void;
  /** In a group: the peer of this row is at another endpoint now. */
  moved?(row: number): void;
  /** In a group: the shard's answer to "yield". */
  yielded?(message: Yielded): void;
  /** Whose session it is, for the log. */
  nameOf(row: number): string | undefined;
  /** Settles when the instance must not go on, with the reason. */
  readonly failed?: Promise<AnyhopError>;
  /** Says farewell; the shard still runs. */
  stop(): void;
}

export function decodeHanded(words: Int32Array, bytes: Uint8Array): Handed[] {
  const entries: Handed[] = [];
  for (let w = 0, at = 0; w < words.length; w += CONTROL_WORDS) {
    const len = words[w + 3];
    entries.push({
      ...{ kind: words[w], row: words[w + 1], detail: words[w + 2] },
      bytes: bytes.subarray(at, at + len),
      from: remoteOf([words[w + 4], words[w + 5], words[w + 6], words[w + 7]], words[w + 8], words[w + 9]),
      tos: words[w + 10],
    });
    at += len;
  }
  return entries;
}

/** Free rows of the tunnel table; those that were in use before come first. */
export class Rows {
  readonly #given: number[] = [];
  readonly #end: number;
  #next: number;

  constructor(first: number, count: number) {
    this.#next = first;
    this.#end = first + count;
  }

  /** Above every row that was ever taken: who looks at all of them looks no further. */
  get end(): number {
    return this.#next;
  }

  take(): number | undefined {
    return this.#given.pop() ?? (this.#next < this.#end ? this.#next++ : undefined);
  }

  give(row: number): void {
    this.#given.push(row);
  }
}
