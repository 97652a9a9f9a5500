/**
 * Who owns the replay window of a session, and how it moves: a packet of a session that another node owns is held, the
 * owner is asked for the window, and whoever has it delivers the packet. Without an owner the window begins above the
 * forecast of the client's numbers, or where the client proves to be. docs/PROTOCOL.md, "The group".
 *
 * The newest authentic number of the client decides everything, and only the client can make a newer one: so a packet that
 * was recorded anywhere moves nothing.
 */
import { sameBytes } from "./bytes.ts";
import { isNumber, isReachable, settledUpTo } from "./client_numbers.ts";
import type { Core } from "./core.ts";
import { FLIPS_MAX } from "./core.ts";
import { Deadlines, type Due } from "./deadlines.ts";
import { type Endpoint, sameEndpoint } from "./endpoint.ts";
import { ageMs, forecast } from "./forecast.ts";
import type { HeldPacket } from "./group_types.ts";
import type { Taken } from "./link_message.ts";
import { NOBODY, NONE, STRANGE } from "./session_table.ts";
import { closedUpTo, EMPTY, type Window } from "./window.ts";

/** An unanswered question is repeated, at first after this time, then after twice as long each time. */
const RETRY_MS = 2;
const RETRY_MAX_MS = 256;
/** With many sessions on their way each one is asked about less often, so what is asked at all stays this much a ms. */
const QUESTIONS_PER_MS = 32;
/** With more sessions on their way, no client is challenged before it is known that its owner is dead. */
const STORM = 64;
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
  tries: number;
  redirects: number;
  /** Nobody can hand the window over: nodes that were asked whether it is theirs and have not answered. */
  others: Set<number> | undefined;
  /** Nodes that want to take the session over, too: told that it is not this one's, and to be asked again before it is. */
  readonly rivals: Set<number>;
  /** Nodes that get no answer before this one has the session, or has given up. */
  readonly deferred: Set<number>;
  /** What the client is to send back to prove that it is here; undefined: it was not asked to. */
  token: Uint8Array | undefined;
  challengedMs: number;
  challenges: number;
  /** The owner before may live, and has delivered what nobody was told of: what the client sent before its proof is not taken. */
  hung: boolean;
  /** With which it did. */
  proof: { readonly seq: number; readonly from: Endpoint } | undefined;
}

export class Ownership {
  readonly #core: Core;
  readonly #flips = new Map<number, Flip>();
  /** Own sessions with packets that wait for the fence to fall. */
  readonly #fenced = new Set<number>();
  /** Sessions that may be another node's since this one was taken for dead, still to be asked about. */
  readonly #doubtful = new Set<number>();
  /** Windows of such sessions that this node's shard keeps, by index: the greatest number that was known then. */
  readonly #windows = new Map<number, number>();
  readonly #deadlines = new Deadlines<Flip>();
  /** Called when a session became this node's. */
  onOwned: (index: number) => void = () => {};
  /** Node that this one has just given a session, or NOBODY. */
  gaveTo: (index: number) => number = () => NOBODY;

  constructor(core: Core) {
    this.#core = core;
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
      if (!this.#core.ports.fenced()) this.#bounce(row, packet);
      else if (this.#keep(packet)) this.#fenced.add(packet.index);
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
        if (window !== undefined && window.highest < table.high[row] && this.#windows.has(index)) {
          // Each had it for a while, and this one was further.
          this.#own(row, flip, undefined);
          return;
        }
        if (window === undefined || window.highest < table.high[row]) {
          this.#notThere(row, flip, node, () => outcomes.add("answer_unexpected"));
          return;
        }
        if (!isReachable(this.#core, row, window.highest)) {
          this.#notThere(row, flip, node, () => outcomes.add("number_impossible"));
          return;
        }
        outcomes.add("taken");
        this.#own(row, flip, closedUpTo(settledUpTo(this.#core, row), window));
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
    this.#answer(row, flip);
    this.#core.forward(flip.asked, hold.take(flip.index));
  }

  /** Something was learnt about where a session is. `byOwner`: from the node that has it. */
  located(row: number, byOwner = false): void {
    const { table } = this.#core;
    const flip = this.#flips.get(table.index[row]);
    const owner = table.owner[row];
    if (flip === undefined || !this.#core.alive(owner)) return;
    if (byOwner && !flip.asking && ++flip.redirects <= REDIRECTS_MAX) {
      this.#ask(row, flip, owner);
      return;
    }
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

  /**
   * Another node, to which nobody can hand the session over, asks whether it is this one's. True: it is to get no answer now.
   * Of two that are ready to take it, the smaller number goes first; one that is not ready lets the other go.
   */
  defers(node: number, index: number): boolean {
    const flip = this.#flips.get(index);
    if (flip?.others === undefined) return false;
    const isFirst = node > this.#core.config.node && this.#isReady(this.#core.table.find(index), flip);
    if (isFirst) flip.deferred.add(node);
    else flip.rivals.add(node);
    return isFirst;
  }

  /** There is evidence that a node is dead. What it owned is looked after at once. */
  died(node: number): void {
    if (!this.#core.gone(node)) return;
    for (const flip of [...this.#flips.values()]) {
      const row = this.#core.table.find(flip.index);
      if (flip.asking && flip.asked === node) this.#alone(row, flip);
      else if (flip.others?.delete(node)) this.#decide(row, flip);
    }
  }

  /** The fence falls. `condemned`: what this node owned may be another one's by now, so each session is asked about first. */
  unfenced({ fence, condemned }: { readonly fence: number; readonly condemned: boolean }): void {
    const { table, config, hold, outcomes } = this.#core;
    for (let row = 0; condemned && row < table.end; row++) {
      if (table.phase[row] === 0 || table.owner[row] !== config.node) continue;
      this.#core.setOwner(row, NOBODY);
      this.#doubtful.add(table.index[row]);
      this.#windows.set(table.index[row], table.high[row]);
    }
    if (condemned) outcomes.add("condemned");
    this.#core.emit({ kind: "fall", fence, yields: condemned });
    const held = [...this.#fenced];
    this.#fenced.clear();
    for (const index of held) {
      const packets = hold.take(index);
      const row = table.find(index);
      if (row === NONE) outcomes.add("hold_ended", packets.length);
      else this.release(row, packets);
    }
  }

  /** Another node handed the window over unasked: it drains. */
  parted(row: number, given: Window, endpoint: Endpoint): void {
    const window = closedUpTo(settledUpTo(this.#core, row), given);
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
    this.#doubtful.delete(index);
    this.#windows.delete(index);
    const flip = this.#flips.get(index);
    if (flip !== undefined) {
      this.#end(flip);
      for (const node of flip.deferred) this.#core.say(node, { kind: "absent", index });
    } else if (!this.#fenced.delete(index)) return;
    this.#core.outcomes.add("hold_ended", this.#core.hold.take(index).length);
  }

  tick(): void {
    const { now, table } = this.#core;
    for (let flip = this.#deadlines.take(now.ms); flip !== undefined; flip = this.#deadlines.take(now.ms)) {
      const row = table.find(flip.index);
      if (flip.asking) this.#unanswered(row, flip);
      else if (this.#waitsForOthers(flip)) this.#consultAgain(row, flip);
      else this.#challengeAgain(flip);
    }
    this.#askAboutDoubtful();
  }

  nextTimeout(): number {
    return this.#doubtful.size > 0 ? this.#core.now.ms + 1 : this.#deadlines.next();
  }

  /** Without waiting for a packet: clients that only listen are kept alive by an owner. */
  #askAboutDoubtful(): void {
    const { table } = this.#core;
    let asked = 0;
    for (const index of this.#doubtful) {
      if (asked++ >= QUESTIONS_PER_MS || this.#flips.size >= FLIPS_MAX) return;
      this.#doubtful.delete(index);
      const row = table.find(index);
      if (row === NONE || !this.#canReclaim(row) || this.#flips.has(index)) continue;
      this.#begin(row, { index, seq: Math.max(0, table.high[row]), from: table.endpoint(row) });
    }
  }

  #wait(row: number, packet: HeldPacket): void {
    const { table, outcomes, now } = this.#core;
    const flip = this.#flips.get(packet.index);
    const owner = table.owner[row];
    if (!isNumber(packet.seq)) outcomes.add("held_impossible");
    else if (flip !== undefined) this.#join(row, flip, packet);
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
    if (waited && this.#mayForecast(row, flip)) this.#decide(row, flip);
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

  #begin(row: number, packet: Pick<HeldPacket, "index" | "seq" | "from">): void {
    const { now, table } = this.#core;
    const flip: Flip = {
      index: packet.index,
      seq: packet.seq,
      from: packet.from,
      asked: NOBODY,
      asking: false,
      sinceMs: now.ms,
      tries: 0,
      redirects: 0,
      others: undefined,
      rivals: new Set(),
      deferred: new Set(),
      token: undefined,
      challengedMs: now.ms,
      challenges: 0,
      hung: false,
      proof: undefined,
      dueMs: 0,
      waitMs: undefined,
    };
    this.#flips.set(packet.index, flip);
    this.#ask(row, flip, table.owner[row]);
  }

  #ask(row: number, flip: Flip, owner: number): void {
    flip.asked = owner;
    if (this.#core.gone(owner)) {
      this.#alone(row, flip);
      return;
    }
    flip.asking = true;
    flip.others = undefined;
    flip.tries = 1;
    this.#answer(row, flip);
    this.#take(row, flip);
    this.#deadlines.set(this.#core.now.ms, this.#retryMs(flip), flip);
  }

  /** The owner that can't be asked now will be asked. */
  #take(row: number, { index, seq, asked }: Flip): void {
    const created = this.#core.table.created[row];
    if (this.#core.alive(asked)) this.#core.say(asked, { kind: "take", index, created, seq });
  }

  /** The owner is busy, or the question or its answer was lost, or it is dead and nobody knows yet. */
  #unanswered(row: number, flip: Flip): void {
    if (this.#core.gone(flip.asked)) {
      this.#alone(row, flip);
      return;
    }
    if (flip.tries === 1) this.#doubt(row, flip);
    flip.tries++;
    this.#take(row, flip);
    this.#deadlines.set(this.#core.now.ms, this.#retryMs(flip), flip);
  }

  /** A power of two, so there are few queues of deadlines. */
  #retryMs({ tries }: Flip): number {
    const share = this.#flips.size / QUESTIONS_PER_MS;
    const waitMs = Math.max(RETRY_MS * 2 ** (tries - 1), 2 ** Math.ceil(Math.log2(Math.max(1, share))));
    return Math.min(RETRY_MAX_MS, waitMs);
  }

  /** The owner may be dead. The client is asked before that is certain, so its proof is there when it is. */
  #doubt(row: number, flip: Flip): void {
    if (this.#flips.size > STORM || flip.token !== undefined || this.#isReady(row, flip)) return;
    this.#challenge(flip);
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
    this.#answer(row, flip);
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
    const { config } = this.#core;
    flip.redirects++;
    if (owner === config.node || flip.redirects > REDIRECTS_MAX) {
      this.#alone(row, flip);
      return;
    }
    this.#core.setOwner(row, owner);
    this.#ask(row, flip, owner);
  }

  /**
   * Nobody can hand the window over. Whoever may have got it since is asked now, and not before: what was true while the
   * owner lived is not an answer.
   */
  #alone(row: number, flip: Flip): void {
    flip.asking = false;
    flip.tries = 1;
    this.#deadlines.clear(flip);
    flip.hung = this.#core.hangs(flip.asked);
    if (flip.hung) {
      // It has delivered more since an earlier proof.
      flip.token = undefined;
      flip.proof = undefined;
    }
    flip.others = new Set(this.#core.present().filter((node) => node !== flip.asked));
    this.#consult(flip);
    this.#doubt(row, flip);
    this.#decide(row, flip);
  }

  #consult(flip: Flip): void {
    for (const node of flip.others!)
      if (this.#core.alive(node)) this.#core.say(node, { kind: "ask", index: flip.index });
    if (flip.others!.size > 0) this.#deadlines.set(this.#core.now.ms, this.#retryMs(flip), flip);
  }

  #consultAgain(row: number, flip: Flip): void {
    for (const node of flip.others!) if (this.#core.gone(node)) flip.others!.delete(node);
    flip.tries++;
    this.#consult(flip);
    this.#decide(row, flip);
  }

  /** Takes the session over as soon as nobody is left who may have it. */
  #decide(row: number, flip: Flip): void {
    if (this.#waits(flip)) return;
    if (this.#isReady(row, flip)) {
      if (flip.rivals.size === 0) this.#takeOver(row, flip);
      else {
        // Each of them may have been faster.
        flip.others = new Set([...flip.rivals].filter((node) => !this.#core.gone(node)));
        flip.rivals.clear();
        flip.tries = 1;
        this.#consult(flip);
        if (flip.others.size === 0) this.#takeOver(row, flip);
      }
      return;
    }
    if (flip.token === undefined) this.#challenge(flip);
    this.#answer(row, flip);
    this.#deadlines.set(this.#core.now.ms, CHALLENGE_MS, flip);
  }

  /** Nothing is needed of the client any more. */
  #isReady(row: number, flip: Flip): boolean {
    return this.#canReclaim(row) || this.#isProven(row, flip) || this.#mayForecast(row, flip);
  }

  /** What was told since may be newer than the proof. */
  #isProven(row: number, { proof }: Flip): boolean {
    return proof !== undefined && proof.seq > this.#core.table.high[row];
  }

  /** The window is in this node's shard, and nobody was heard of who has taken the session since. */
  #canReclaim(row: number): boolean {
    const { table } = this.#core;
    return table.owner[row] === NOBODY && this.#windows.has(table.index[row]);
  }

  #takeOver(row: number, flip: Flip): void {
    if (this.#canReclaim(row)) this.#own(row, flip, undefined);
    else if (this.#isProven(row, flip)) this.#proven(row, flip, flip.proof!);
    else this.#forecast(row, flip);
  }

  /** Who waits for this node's decision is told what it knows now. */
  #answer(row: number, flip: Flip): void {
    const { table } = this.#core;
    for (const node of flip.deferred) this.#core.say(node, table.asTold(row));
    flip.deferred.clear();
  }

  #waitsForOthers({ others }: Flip): boolean {
    return others !== undefined && others.size > 0;
  }

  #mayForecast(row: number, flip: Flip): boolean {
    return !flip.hung && flip.seq > this.#floor(row, flip);
  }

  #forecast(row: number, flip: Flip): void {
    this.#core.outcomes.add("forecast");
    this.#own(row, flip, closedUpTo(this.#floor(row, flip), EMPTY));
  }

  /** The client is here: nobody else could answer, and not before it was asked. */
  #proven(row: number, flip: Flip, { seq, from }: NonNullable<Flip["proof"]>): void {
    this.#core.outcomes.add("proven");
    const lowest = Math.min(this.#floor(row, flip), Math.max(this.#core.table.high[row], seq - REORDER));
    const floor = flip.hung ? seq : lowest;
    if (seq > flip.seq) {
      flip.seq = seq;
      flip.from = from;
    }
    this.#own(row, flip, closedUpTo(floor, EMPTY));
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
      this.#answer(this.#core.table.find(flip.index), flip);
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

  /** `window` undefined: the shard has it. */
  #own(row: number, flip: Flip, window: Window | undefined): void {
    this.#end(flip);
    this.#install(row, window, Math.max(flip.seq, window?.highest ?? NONE), flip.from);
    this.#answer(row, flip);
  }

  /** This node is the owner from now on. */
  #install(row: number, window: Window | undefined, seq: number, endpoint: Endpoint): void {
    const { table, config, now, hold } = this.#core;
    const [index, created] = [table.index[row], table.created[row]];
    const owner = config.node;
    this.#core.setOwner(row, owner);
    table.ownedAtMs[row] = now.ms;
    table.told[row] = 0;
    table.keptUntilMs[row] = Number.NEGATIVE_INFINITY;
    table.bounces[row] = 0;
    const [known, keptAt] = [table.high[row], this.#windows.get(index) ?? NONE];
    this.#windows.delete(index);
    if (seq > table.high[row]) {
      table.high[row] = seq;
      table.highAtMs[row] = now.ms;
    }
    // The shard says where a client is when that changes for it: it must begin with what all are told.
    if (!sameEndpoint(table.endpoint(row), endpoint)) this.#core.emit({ kind: "locate", index, endpoint });
    table.setEndpoint(row, endpoint);
    this.onOwned(index);
    // What others have told of since then, they have taken.
    if (window === undefined) this.#core.emit({ kind: "reclaim", index, floor: known > keptAt ? known : NONE });
    else this.#core.emit({ kind: "own", index, window });
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
