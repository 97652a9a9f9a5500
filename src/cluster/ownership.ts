/**
 * Who owns the replay window of a session, and how it moves: a packet of a session that another node owns is held, the
 * owner is asked for the window, and whoever has it delivers the packet. Without an owner the window begins above the
 * forecast of the client's numbers, or where the client proves to be. docs/PROTOCOL.md, "The group".
 *
 * The newest authentic number of the client decides everything, and only the client can make a newer one: so a packet that
 * was recorded anywhere moves nothing.
 */
import { sameBytes } from "./bytes.ts";
import type { Core } from "./core.ts";
import { FLIPS_MAX } from "./core.ts";
import { Deadlines, type Due } from "./deadlines.ts";
import { type Endpoint, sameEndpoint } from "./endpoint.ts";
import { ageMs, forecast } from "./forecast.ts";
import type { HeldPacket } from "./group_types.ts";
import type { Taken } from "./link_message.ts";
import { NOBODY, NONE, STRANGE } from "./session_table.ts";
import type { Window } from "./window.ts";

/** While the hold time lasts: the host of a daemon that died says so only to who sends to it, and from one moment on. */
const RETRY_MS = 2;
/** In a storm, with a longer wait between them. */
const STORM_TAKES = 3;
/** So many sessions on their way take longer than a deadline; with fewer, all answers were read before it is looked at. */
const STORM = 64;
/** A deadline that is looked at so much later says nothing of the owner. */
const LATE_MS = 2;
/** Then the answers are read first; looking again sooner would take the time that reading needs. */
const STORM_WAIT_MS = 50;
/** What so many need; longer, as each look goes through all of them. */
const GREAT_STORM = 1024;
const GREAT_STORM_WAIT_MS = 400;
const LATE_PATIENCE_MS = 1000;
/** An owner that is busy is asked less and less often: ten thousand sessions that all ask again keep it busy. */
const BACKOFFS = 4;
/** An owner that was heard since it was asked is only busy: it gets so many times the hold time. */
const PATIENCE = 20;
/** Of the hold time: the answer of the owner, who is nearer than the client, would have come before the proof. */
const PROVEN_SHARE = 0.5;
const REDIRECTS_MAX = 3;
/** After "keep": packets go to the owner without a question. Also how long a new owner keeps: so nothing ping-pongs. */
export const KEEP_MS = 20;
const CHALLENGE_MS = 250;
/** A challenge is answered sooner than this by most clients; then a forecast may go ahead of it. */
const PROOF_MS = 100;
const CHALLENGES = 4;
const TOKEN_LEN = 8;
/** A datagram with the proof is no longer: header, payload type, kind, token, tag. */
export const PROOF_LEN = 8 + 2 + 1 + TOKEN_LEN + 16;
/** A client that proved its number n may have lower ones under way. */
const REORDER = 2048;
const BOUNCES_MAX = 64;
/** A node that has just started is no judge of who lives: others may still be talking to the start before it. */
const YOUNG_MS = 1500;

/** A session on its way to this node. */
interface Flip extends Due {
  readonly index: number;
  /** Number of the authentic packet that the question is about. */
  seq: number;
  from: Endpoint;
  /** Node that was asked for the window last; `asking`: and may still answer. */
  asked: number;
  asking: boolean;
  readonly sinceMs: number;
  askedMs: number;
  tries: number;
  redirects: number;
  /** Nodes that were asked whether they know better, and have not answered; undefined: none was asked. */
  others: Set<number> | undefined;
  /** What the client is to send back to prove that it is here; undefined: it was not asked to. */
  token: Uint8Array | undefined;
  challengedMs: number;
  challenges: number;
  /** With which it did. */
  proof: { readonly seq: number; readonly from: Endpoint } | undefined;
}

export class Ownership {
  readonly #core: Core;
  readonly #startMs: number;
  readonly #flips = new Map<number, Flip>();
  readonly #deadlines = new Deadlines<Flip>();
  /** Called when a session became this node's. */
  onOwned: (index: number) => void = () => {};
  /** Node that this one has just given a session, or NOBODY. */
  gaveTo: (index: number) => number = () => NOBODY;

  constructor(core: Core) {
    this.#core = core;
    this.#startMs = core.now.ms;
  }

  get flips(): number {
    return this.#flips.size;
  }

  /** Node that is being asked for a session, or NOBODY. */
  askedFor(index: number): number {
    const flip = this.#flips.get(index);
    return flip?.asking ? flip.asked : NOBODY;
  }

  /** A packet that another node took this one for the owner of: never sent on without a question, so none circles. */
  forwarded(row: number, packet: HeldPacket): void {
    const { table, outcomes } = this.#core;
    outcomes.add("held");
    table.keptUntilMs[row] = Number.NEGATIVE_INFINITY;
    this.#wait(row, packet);
  }

  /** A packet of a session in the table, in row `row`, that the data plane did not take. */
  held(row: number, packet: HeldPacket): void {
    const { table, config, outcomes } = this.#core;
    if (table.owner[row] === config.node) {
      this.#bounce(row, packet);
      return;
    }
    outcomes.add("held");
    if (this.#core.departing && this.#core.alive(table.owner[row])) this.#core.forward(table.owner[row], [packet]);
    else this.#wait(row, packet);
  }

  /** Packets that were held for the record of this session, oldest first. */
  release(row: number, packets: readonly HeldPacket[]): void {
    if (this.#core.table.owner[row] === this.#core.config.node) this.#core.inject(packets);
    else for (const packet of packets) this.#wait(row, packet);
  }

  /** The owner's answer. */
  taken(node: number, { index, created, result, owner, window }: Taken): void {
    const { table, outcomes } = this.#core;
    const flip = this.#flips.get(index);
    const row = table.find(index);
    // What is given is this node's, however late: nobody else has it, and a client that must prove itself takes longer.
    const fits = flip?.asked === node && (flip.asking || result === "given") && row !== NONE;
    if (!fits || table.created[row] !== created) {
      outcomes.add("answer_unexpected");
      return;
    }
    switch (result) {
      case "given":
        // A window from before this node last had the session is the answer to an earlier question, repeated.
        if (window === undefined || window.highest < table.high[row]) {
          this.#notThere(row, flip, node, () => outcomes.add("answer_unexpected"));
          return;
        }
        outcomes.add("taken");
        this.#own(row, flip, window);
        return;
      case "keep":
        this.#kept(row, flip);
        return;
      case "stale":
        this.#stale(row, flip);
        return;
      case "moved":
        this.#moved(row, flip, owner);
        return;
      case "unknown":
        this.#notThere(row, flip, node, () => this.#alone(row, flip));
        return;
    }
  }

  /** The node that was asked has no window now: what this one gave it is still on its way, or it is as `otherwise` says. */
  #notThere(row: number, flip: Flip, node: number, otherwise: () => void): void {
    if (this.gaveTo(flip.index) === node) this.#kept(row, flip);
    else otherwise();
  }

  /** The owner gets what is held, and for a while what comes. */
  #kept(row: number, flip: Flip): void {
    const { table, outcomes, now, hold } = this.#core;
    outcomes.add("kept");
    table.keptUntilMs[row] = now.ms + KEEP_MS;
    this.#end(flip);
    this.#core.forward(flip.asked, hold.take(flip.index));
  }

  /** Something was learnt about where a session is. */
  located(row: number): void {
    const { table } = this.#core;
    const flip = this.#flips.get(table.index[row]);
    const owner = table.owner[row];
    if (flip === undefined || !this.#core.alive(owner)) return;
    // Who has not answered at once may not know that the session has moved on.
    const isAsked = flip.asking && (flip.tries === 1 || owner === flip.asked);
    const isNews = owner !== flip.asked || (!flip.asking && !this.#waitsForOthers(flip));
    if (!isAsked && isNews) this.#ask(row, flip, owner);
  }

  /** A node has told what it knows of a session, if anything. */
  consulted(node: number, index: number): void {
    const flip = this.#flips.get(index);
    if (flip?.others?.delete(node)) this.#decide(this.#core.table.find(index), flip);
  }

  /** The host of a node says that nobody listens there. What it owned is looked after at once. */
  suspected(node: number): void {
    for (const flip of [...this.#flips.values()]) {
      if (!flip.asking || flip.asked !== node) continue;
      const row = this.#core.table.find(flip.index);
      this.#doubt(row, flip);
      this.#decide(row, flip);
    }
  }

  /** Another node handed the window over unasked: it drains. */
  parted(row: number, window: Window, endpoint: Endpoint): void {
    const index = this.#core.table.index[row];
    const flip = this.#flips.get(index);
    if (flip !== undefined) {
      this.#own(row, flip, window);
      return;
    }
    this.#install(row, window, window.highest, endpoint);
  }

  /** A session leaves the table. */
  ended(index: number): void {
    const flip = this.#flips.get(index);
    if (flip === undefined) return;
    this.#end(flip);
    this.#core.outcomes.add("hold_ended", this.#core.hold.take(index).length);
  }

  tick(): void {
    const { now, table } = this.#core;
    for (let flip = this.#deadlines.take(now.ms); flip !== undefined; flip = this.#deadlines.take(now.ms)) {
      const row = table.find(flip.index);
      if (flip.asking && this.#isLate(flip)) this.#deadlines.set(now.ms, this.#stormWaitMs(), flip);
      else if (flip.asking) this.#unanswered(row, flip);
      else if (this.#waitsForOthers(flip)) {
        flip.others!.clear();
        this.#decide(row, flip);
      } else this.#challengeAgain(flip);
    }
  }

  nextTimeout(): number {
    return this.#deadlines.next();
  }

  /** This node was busy itself: the answer may have come and not have been read. */
  #isLate({ dueMs, sinceMs }: Flip): boolean {
    const { ms } = this.#core.now;
    return this.#flips.size > STORM && ms - dueMs > LATE_MS && ms - sinceMs < LATE_PATIENCE_MS;
  }

  #stormWaitMs(): number {
    return this.#flips.size > GREAT_STORM ? GREAT_STORM_WAIT_MS : STORM_WAIT_MS;
  }

  #wait(row: number, packet: HeldPacket): void {
    const { table, outcomes, now } = this.#core;
    const flip = this.#flips.get(packet.index);
    const owner = table.owner[row];
    if (flip !== undefined) this.#join(row, flip, packet);
    else if (table.keptUntilMs[row] > now.ms && this.#core.alive(owner)) this.#core.forward(owner, [packet]);
    else if (this.#flips.size >= FLIPS_MAX) outcomes.add("flips_full");
    else if (this.#core.ports.open(table.record(row), packet.datagram) === undefined) outcomes.add("forged");
    else if (this.#keep(packet)) this.#begin(row, packet);
  }

  /** The row is this node's: the packet overtook the news on its way to the shard. */
  #bounce(row: number, packet: HeldPacket): void {
    const { table, outcomes } = this.#core;
    if (table.bounces[row] >= BOUNCES_MAX) {
      outcomes.add("row_missing");
      return;
    }
    table.bounces[row]++;
    this.#core.inject([packet]);
  }

  #join(row: number, flip: Flip, packet: HeldPacket): void {
    if (flip.token === undefined || !this.#matters(flip, packet)) return void this.#keep(packet);
    const opened = this.#core.ports.open(this.#core.table.record(row), packet.datagram);
    if (opened === undefined) {
      this.#core.outcomes.add("forged");
      return;
    }
    if (!this.#keep(packet)) return;
    // Somebody may have brought the answer here from where the client is: then that node has told of newer numbers.
    const isNewest = packet.seq > this.#core.table.high[row];
    if (isNewest && opened.pong !== undefined && sameBytes(flip.token, opened.pong)) {
      this.#core.outcomes.add("proven");
      flip.proof = packet;
      this.#decide(row, flip);
      return;
    }
    if (this.#waits(flip) || packet.seq <= flip.seq) return;
    const elsewhere = !sameEndpoint(flip.from, packet.from);
    flip.seq = packet.seq;
    flip.from = packet.from;
    // The proof lets in what was held before it, too; a forecast would close it out.
    const waited = this.#core.now.ms - flip.challengedMs >= PROOF_MS;
    if (waited && this.#mayForecast(row, flip)) this.#forecast(row, flip);
    else if (elsewhere) this.#ping(flip);
  }

  /** Whether it is worth the time to open a packet that joins others: dozens may come while the client proves itself. */
  #matters(flip: Flip, { datagram, seq }: HeldPacket): boolean {
    return datagram.length <= PROOF_LEN || (seq > flip.seq && !this.#waits(flip));
  }

  /** For what another node may know better. */
  #waits(flip: Flip): boolean {
    return flip.asking || this.#waitsForOthers(flip);
  }

  #keep(packet: HeldPacket): boolean {
    const refusal = this.#core.hold.hold(packet.index, Number.POSITIVE_INFINITY, packet);
    if (refusal !== undefined) this.#core.outcomes.add("hold_full");
    return refusal === undefined;
  }

  #begin(row: number, packet: HeldPacket): void {
    const { now, table } = this.#core;
    const flip: Flip = {
      index: packet.index,
      seq: packet.seq,
      from: packet.from,
      asked: NOBODY,
      asking: false,
      sinceMs: now.ms,
      askedMs: now.ms,
      tries: 0,
      redirects: 0,
      others: undefined,
      token: undefined,
      challengedMs: now.ms,
      challenges: 0,
      proof: undefined,
      dueMs: 0,
      waitMs: undefined,
    };
    this.#flips.set(packet.index, flip);
    this.#ask(row, flip, table.owner[row]);
  }

  #ask(row: number, flip: Flip, owner: number): void {
    if (!this.#core.alive(owner)) {
      this.#alone(row, flip);
      return;
    }
    flip.asking = true;
    flip.asked = owner;
    flip.askedMs = this.#core.now.ms;
    flip.tries = 1;
    this.#take(row, flip);
    this.#deadlines.set(this.#core.now.ms, this.#flips.size > STORM ? this.#stormWaitMs() : RETRY_MS, flip);
    if (!this.#core.suspect(owner)) return;
    this.#doubt(row, flip);
    this.#decide(row, flip);
  }

  #take(row: number, { index, seq, asked }: Flip): void {
    const created = this.#core.table.created[row];
    this.#core.say(asked, { kind: "take", index, created, seq });
  }

  #unanswered(row: number, flip: Flip): void {
    const { now, config } = this.#core;
    const { holdMs } = config;
    const alive = this.#core.alive(flip.asked);
    const busy = alive && this.#isHeard(flip) && now.ms - flip.sinceMs < PATIENCE * holdMs;
    const takes = this.#flips.size > STORM ? STORM_TAKES : Math.ceil(holdMs / RETRY_MS);
    if (!alive || this.#isOver(flip) || (flip.tries >= takes && !busy)) {
      this.#alone(row, flip);
      return;
    }
    if (flip.tries === 1) this.#doubt(row, flip);
    flip.tries++;
    if (flip.tries > takes) flip.askedMs = now.ms;
    this.#take(row, flip);
    if (flip.tries > takes) this.#deadlines.set(now.ms, holdMs * 2 ** Math.min(BACKOFFS, flip.tries - takes - 1), flip);
    // Ten thousand that ask again at once keep the owner from answering.
    else if (this.#flips.size > STORM) this.#deadlines.set(now.ms, this.#stormWaitMs(), flip);
    else {
      // From the first question on: timers that are late don't add up.
      const dueMs = flip.askedMs + Math.min(flip.tries * RETRY_MS, holdMs);
      this.#deadlines.set(now.ms, Math.max(1, Math.ceil(dueMs - now.ms)), flip);
    }
  }

  /**
   * The owner may be dead. Before that is certain, the others are asked whether the session is another node's by now, and
   * the client to prove that it is here: so nothing is left to be asked when the owner's time is over.
   */
  #doubt(row: number, flip: Flip): void {
    if (this.#flips.size > STORM) return;
    this.#consult(flip);
    const isUnheard = this.#core.table.high[row] === NONE && this.#waitsForOthers(flip);
    if (flip.token === undefined && !isUnheard && !this.#mayForecast(row, flip)) this.#challenge(flip);
  }

  /**
   * The packet that was asked about is not new; one that is newer may be. The others move nothing. They are sent on, since
   * the owner drops what it has seen, and an answer does not say which question it is for.
   */
  #stale(row: number, flip: Flip): void {
    const { hold, outcomes, ports, table } = this.#core;
    const packets = hold.take(flip.index);
    outcomes.add("stale");
    this.#end(flip);
    this.#core.forward(
      flip.asked,
      packets.filter((packet) => packet.seq <= flip.seq),
    );
    const newer = packets.filter((packet) => packet.seq > flip.seq);
    while (newer.length > 0) {
      const newest = newer.reduce((best, packet) => (packet.seq > best.seq ? packet : best));
      if (ports.open(table.record(row), newest.datagram) !== undefined) {
        for (const packet of newer) this.#keep(packet);
        this.#begin(row, newest);
        return;
      }
      outcomes.add("forged");
      newer.splice(newer.indexOf(newest), 1);
    }
  }

  #moved(row: number, flip: Flip, owner: number): void {
    const { table, config } = this.#core;
    flip.redirects++;
    if (owner === config.node || flip.redirects > REDIRECTS_MAX) {
      this.#alone(row, flip);
      return;
    }
    table.owner[row] = owner;
    this.#ask(row, flip, owner);
  }

  /** Nobody can hand the window over. */
  #alone(row: number, flip: Flip): void {
    const { table, now, config } = this.#core;
    const isUnheard = table.high[row] === NONE;
    flip.asking = false;
    this.#deadlines.clear(flip);
    // A node that came later has heard no numbers yet; the others have.
    if (isUnheard) this.#consult(flip);
    this.#doubt(row, flip);
    if (this.#waitsForOthers(flip)) this.#deadlines.set(now.ms, isUnheard ? config.holdMs : 2 * RETRY_MS, flip);
    this.#decide(row, flip);
  }

  /** Takes the session over as soon as nobody is left whose answer would be better than what is known. */
  #decide(row: number, flip: Flip): void {
    const waitsForOwner = flip.asking && !this.#core.suspect(flip.asked) && !this.#isOver(flip);
    if (waitsForOwner || this.#waitsForOthers(flip)) return;
    // What was told since may be newer than the proof.
    const isProven = flip.proof !== undefined && flip.proof.seq > this.#core.table.high[row];
    if (isProven) this.#proven(row, flip, flip.proof!);
    else if (this.#mayForecast(row, flip)) this.#forecast(row, flip);
    else {
      if (flip.token === undefined) this.#challenge(flip);
      if (!flip.asking) this.#deadlines.set(this.#core.now.ms, CHALLENGE_MS, flip);
    }
  }

  /** A client that proved to be here has waited long enough for an owner of which nothing was heard. */
  #isOver(flip: Flip): boolean {
    const { now, config } = this.#core;
    return flip.proof !== undefined && !this.#isHeard(flip) && now.ms - flip.askedMs >= config.holdMs * PROVEN_SHARE;
  }

  /** Anything came from the owner since it was asked: it lives. */
  #isHeard({ asked, askedMs }: Flip): boolean {
    return (this.#core.heardMs.get(asked) ?? 0) > askedMs;
  }

  /** Asks the nodes that were not asked yet; once. */
  #consult(flip: Flip): void {
    if (flip.others !== undefined) return;
    flip.others = new Set(this.#core.living().filter((node) => node !== flip.asked));
    for (const node of flip.others) this.#core.say(node, { kind: "ask", index: flip.index });
  }

  #waitsForOthers({ others }: Flip): boolean {
    return others !== undefined && others.size > 0;
  }

  #mayForecast(row: number, flip: Flip): boolean {
    return flip.seq > this.#floor(row, flip) && this.#core.now.ms - this.#startMs >= YOUNG_MS;
  }

  #forecast(row: number, flip: Flip): void {
    this.#core.outcomes.add("forecast");
    this.#own(row, flip, closedUpTo(this.#floor(row, flip)));
  }

  /** The client is here: nobody else could answer, and not before it was asked. */
  #proven(row: number, flip: Flip, { seq, from }: NonNullable<Flip["proof"]>): void {
    const floor = Math.min(this.#floor(row, flip), Math.max(this.#core.table.high[row], seq - REORDER));
    if (seq > flip.seq) {
      flip.seq = seq;
      flip.from = from;
    }
    this.#own(row, flip, closedUpTo(floor));
  }

  #challenge(flip: Flip): void {
    flip.token = this.#core.ports.entropy.bytes(TOKEN_LEN);
    flip.challengedMs = this.#core.now.ms;
    flip.challenges = 1;
    this.#core.outcomes.add("challenged");
    this.#ping(flip);
  }

  #challengeAgain(flip: Flip): void {
    const { now, hold, outcomes } = this.#core;
    if (flip.challenges >= CHALLENGES) {
      this.#end(flip);
      outcomes.add("challenge_failed", hold.take(flip.index).length);
      return;
    }
    flip.challenges++;
    this.#ping(flip);
    this.#deadlines.set(now.ms, CHALLENGE_MS, flip);
  }

  #ping({ index, token, from }: Flip): void {
    const { table } = this.#core;
    // It could not open the challenge.
    if ((table.flags[table.find(index)] & STRANGE) !== 0)
      this.#core.emit({ kind: "announceSender", index, to: from, once: true });
    this.#core.emit({ kind: "challenge", index, token: token!, to: from });
  }

  /**
   * Greatest number that may have been delivered elsewhere before the client's packets came here; infinite when nothing was
   * heard of the session. Also of one that is pending here: the news that its client has confirmed it may be under way.
   */
  #floor(row: number, { sinceMs }: Flip): number {
    const { table, shoutMs } = this.#core;
    const high = table.high[row];
    if (high === NONE) return Number.POSITIVE_INFINITY;
    const at = table.highAtMs[row];
    return forecast(high, table.rate[row], ageMs(sinceMs, at, shoutMs.get(table.owner[row]) ?? at));
  }

  #own(row: number, flip: Flip, window: Window): void {
    this.#end(flip);
    this.#install(row, window, Math.max(flip.seq, window.highest), flip.from);
  }

  /** This node is the owner from now on. */
  #install(row: number, window: Window, seq: number, endpoint: Endpoint): void {
    const { table, config, now, hold } = this.#core;
    const [index, created] = [table.index[row], table.created[row]];
    const owner = config.node;
    table.owner[row] = owner;
    table.ownedAtMs[row] = now.ms;
    table.told[row] = 0;
    table.keptUntilMs[row] = Number.NEGATIVE_INFINITY;
    table.bounces[row] = 0;
    if (seq > table.high[row]) {
      table.high[row] = seq;
      table.highAtMs[row] = now.ms;
    }
    // The shard says where a client is when that changes for it: it must begin with what all are told.
    if (!sameEndpoint(table.endpoint(row), endpoint)) this.#core.emit({ kind: "locate", index, endpoint });
    table.setEndpoint(row, endpoint);
    this.onOwned(index);
    this.#core.emit({ kind: "own", index, window });
    const packets = hold.take(index);
    this.#core.outcomes.add("injected", packets.length);
    this.#core.inject(packets);
    if ((table.flags[row] & STRANGE) !== 0)
      this.#core.emit({ kind: "announceSender", index, to: endpoint, once: false });
    if (seq >= 0) this.#core.shout({ kind: "moved", index, created, seq, owner, endpoint });
  }

  #end(flip: Flip): void {
    this.#deadlines.clear(flip);
    this.#flips.delete(flip.index);
  }
}

/** A window in which everything up to `floor` counts as received; -1: an empty one. */
function closedUpTo(floor: number): Window {
  if (floor < 0) return { highest: NONE, words: new Int32Array(0) };
  const word = floor & 31;
  return { highest: floor, words: Int32Array.of(word === 31 ? -1 : (1 << (word + 1)) - 1) };
}
