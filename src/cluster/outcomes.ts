/**
 * Every end that a held packet, a message or a record can have in the group, with its name and help text: `anyhop
 * status`, metrics and the docs come from this table. Nothing is refused without one.
 */
export interface Outcome {
  /** `done`: as it should be. `refused`: thrown away, and worth a look when it grows. */
  readonly kind: "done" | "refused";
  readonly help: string;
}

const done = (help: string): Outcome => ({ kind: "done", help });
const refused = (help: string): Outcome => ({ kind: "refused", help });

export const outcomes = {
  held: done("Packets that arrived at this node while another was the owner of their session, or none was known."),
  injected: done("Held packets that were delivered here in the end."),
  asked: done("Sessions that this node did not know and asked the group about."),
  learnt: done("Sessions that another node told this node about when asked."),
  forwarded: done("Held packets that were sent on to the owner of their session."),
  received: done("Packets that another node forwarded to this one."),
  taken: done("Sessions taken over with the exact replay window of the owner before."),
  given: done("Sessions handed over to another node with their exact replay window."),
  kept: done("Sessions whose owner kept them: a straggler, or ownership had just moved."),
  forecast: done("Sessions taken over without their owner, above the forecast of the client's sequence numbers."),
  challenged: done("Sessions without an owner whose client was asked to prove where it is."),
  proven: done("Clients that proved where they are, so their session was taken over."),
  parted: done("Sessions handed to another node because this one drains."),
  resynced: done("Lists of sessions that were asked for: a digest differed, a node came, or somebody wanted it."),
  fetched: done("Pages of what the group knows that this node fetched from another when it began."),
  book_compared: done(
    "Times that another node's sums over the book differed from those of this one, and lists were told.",
  ),
  told: done("Pages of what the group knows that other nodes fetched from this one when they began."),
  stale: refused("Times that an owner had the number of a held packet already, or it is too old: replayed or doubled."),
  unknown: refused("Packets of sessions that no living node knows; the client is told to resume."),
  unknown_forwarded: refused(
    "Forwarded packets of sessions that this node does not know; the client is told to resume.",
  ),
  forged: refused("Held packets with a wrong authentication tag."),
  challenge_failed: refused(
    "Held packets dropped because no client proved within a second that they are not replayed.",
  ),
  forward_too_long: refused("Held packets longer than the node link carries."),
  hold_full: refused("Packets dropped because too many wait for their state already."),
  hold_ended: refused("Held packets dropped because their session ended."),
  flips_full: refused("Packets dropped because too many sessions are moving at once."),
  row_missing: refused(
    "Packets of an own session that the data plane did not take, although they were put back often.",
  ),
  table_full: refused(
    "Records of sessions beyond the size of the group's table, an eighth of which is kept for what this node answers.",
  ),
  record_too_long: refused(
    "Sessions of clients with more inner networks than a record holds; only the node that they came to serves them.",
  ),
  unserved: refused("Sessions of other nodes that this node knows and has no row of the data plane for."),
  record_old: refused("Records of sessions that ended, expired or were replaced; harmless."),
  record_implausible: refused(
    "Records of sessions from the far future, that last too long, or of a node that never belonged to the group.",
  ),
  record_malformed: refused("Bus records that are authentic but can't be read: another version of anyhop?"),
  record_misplaced: refused("Bus records whose key, creator or contents contradict each other."),
  book_too_long: refused("Clients of the book that other nodes told of, longer than 2048 bytes."),
  book_future: refused("Clients of the book that other nodes told of, written more than 5 minutes from now."),
  book_unsigned: refused(
    "Clients of the book that other nodes told of, which no member of the roster has signed: written by a node that was put " +
      "out, or before there was a roster. A member signs them soon.",
  ),
  book_forged: refused(
    "Clients of the book that other nodes told of, in the name of a node that has not signed them: a member lies.",
  ),
  book_adopted: done(
    "Clients of the book that this node signed because no member had: their writer was put out, or was not here since there " +
      "is a roster.",
  ),
  book_full: refused("Clients of the book that other nodes told of, beyond the 200,000 of a group."),
  ticket_keys_full: refused("Ticket keys that other nodes told of, beyond the 256 of a group."),
  ticket_key_unsigned: refused("Ticket keys that other nodes told of, which no member of the roster has signed."),
  ticket_key_forged: refused(
    "Ticket keys that other nodes told of, in the name of a node that has not signed them: a member lies.",
  ),
  ticket_key_life: refused("Ticket keys that other nodes told of, which open tickets for longer than 48 hours."),
  ticket_key_future: refused("Ticket keys that other nodes told of, to be used more than 5 minutes from now."),
  callback_failed: refused(
    "Messages of other nodes and of the engine that made this node stumble; it went on without.",
  ),
  shout_malformed: refused("Bus messages that are authentic but can't be read: another version of anyhop?"),
  shout_forged: refused(
    "Bus messages in the name of a node that has not signed them: another node of the group, or one put out, lies.",
  ),
  bus_refused: refused("Bus records and messages with a wrong seal: another fleet key, or damaged on the way."),
  bus_old_key: done("Bus records and messages under a fleet key of before: sealed before it was rotated."),
  bus_not_member: refused("Bus records and messages of a node that is not in the operator's roster."),
  roster_taken: done("Rosters of the operator that came from another node and are in force since."),
  roster_refused: refused("Rosters from another node that are not valid: somebody has the fleet key."),
  group_keys_refused: refused(
    "Keys of the group from another node that are not valid, or are older than those in force.",
  ),
  link_malformed: refused("Node link messages that are authentic but can't be read: another version of anyhop?"),
  take_unknown: refused("Take-overs asked for by a node, of sessions that this node does not know."),
  yields_full: refused("Take-overs not answered because too many wait for the data plane."),
  number_impossible: refused(
    "Sequence numbers of clients, told by other nodes, that no client can have come to: from 2^31 on, or more than 2,048 for each millisecond of the session.",
  ),
  held_impossible: refused("Held packets with a sequence number from 2^31 on, which no client comes to."),
  part_outdated: refused(
    "Sessions that a node handed over unasked with a window below the client's numbers that are known here.",
  ),
  answer_unexpected: refused("Answers of nodes to questions that are settled or were never asked."),
  peer_unknown: refused("Messages for a node that is not in the configuration of this one."),
  condemned: refused("Times that another node took this one for dead while it stood still or could not be reached."),
  node_id_taken: refused("Signs of life of another node with this node's number."),
} as const satisfies Record<string, Outcome>;

export type OutcomeName = keyof typeof outcomes;

export const outcomeNames = Object.keys(outcomes) as readonly OutcomeName[];

export class Outcomes {
  readonly #counts = new Map<OutcomeName, number>(outcomeNames.map((name) => [name, 0]));
  readonly #lastMs = new Map<OutcomeName, number>();
  readonly #nowMs: () => number;

  /** `nowMs`: monotonic. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  add(name: OutcomeName, n = 1): void {
    this.#counts.set(name, this.#counts.get(name)! + n);
    this.#lastMs.set(name, this.#nowMs());
  }

  get(name: OutcomeName): number {
    return this.#counts.get(name)!;
  }

  all(): Readonly<Record<OutcomeName, number>> {
    return Object.fromEntries(this.#counts) as Record<OutcomeName, number>;
  }

  /** Monotonic ms of the last of each that ever happened. */
  last(): Readonly<Partial<Record<OutcomeName, number>>> {
    return Object.fromEntries(this.#lastMs);
  }
}
