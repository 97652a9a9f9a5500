/** What a node of a group says of the group's clients beside the group itself: nothing secret, names and addresses. */
import type { BusStatus } from "../../cluster/bus.ts";
import type { WatchStatus } from "../../cluster/lifeline_watch.ts";
import type { GroupStatus } from "../../cluster/status.ts";
import type { OutcomeCount } from "../spec/ports.ts";

/** Holds no secret and nothing of what clients are. */
export interface GroupView {
  readonly group: GroupStatus;
  readonly bus: BusStatus;
  readonly lifelines: readonly WatchStatus[];
  /** Monotonic milliseconds of this answer, for the times in `bus` and `lifelines`. */
  readonly nowMs: number;
  /** Sessions in the data plane: with their replay windows here, and elsewhere. */
  readonly own: number;
  readonly foreign: number;
  /** What became of packets and messages between nodes. */
  readonly counters: readonly OutcomeCount[];
}

/** Who was given something twice, as `anyhop sync` shows it. Times: milliseconds since 1970. */
export interface BookReport {
  /** Not settled yet. */
  readonly conflicts: readonly {
    readonly what: string;
    readonly keeper: string;
    readonly losers: readonly string[];
    readonly sinceMs: number;
  }[];
  /** Within the last day: what a client had to leave to another one, and what it has now. */
  readonly settled: readonly {
    readonly what: string;
    readonly keeper: string;
    readonly loser: string;
    readonly addresses: readonly string[];
    readonly atMs: number;
  }[];
  /** Clients of the book that can't come in at this node. */
  readonly refused: readonly { readonly client: string; readonly why: string; readonly sinceMs: number }[];
}

/** What `anyhop sync` shows of the group. */
export interface NodeGroupView extends GroupView {
  readonly book: BookReport;
}
