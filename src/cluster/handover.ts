/**
 * The owner's side: hands replay windows over to nodes that ask, at most once each, and remembers what it gave for as long
 * as the question may be repeated. Also gives windows away unasked (drain), and gives up what a newer location shows to be
 * another node's (after a partition).
 */
import { isReachable } from "./client_numbers.ts";
import type { Core } from "./core.ts";
import { FLIPS_MAX, UNASKABLE_MS } from "./core.ts";
import { Deadlines, type Due } from "./deadlines.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Yielded } from "./group_types.ts";
import type { LinkMessage, TakeResult } from "./link_message.ts";
import { KEEP_MS } from "./ownership.ts";
import type { SessionName } from "./record.ts";
import { NOBODY, NONE } from "./session_table.ts";
import type { Window } from "./window.ts";

type Take = Extract<LinkMessage, { kind: "take" }>;

/** How long a given window is kept: the answer may be lost, and who asked may be busy for as long as it can be asked at all. */
const GIVEN_MS = UNASKABLE_MS;
/** A shard that has not answered by then never will. */
const YIELD_MS = 10_000;
const PART_RETRY_MS = 10;
const PARTS = 5;
/** Above every number that a client may use: windows compare numbers modulo 2^32. */
const SEQ_MAX = 2 ** 31 - 1;

interface Question extends Due {
  readonly token: number;
  readonly name: SessionName;
  readonly seq: number;
  /** take: a node asked. part: this node drains. claim: a node says that it is the owner. */
  readonly why: "take" | "part" | "claim";
  readonly node: number;
  /** Of a claim: where the client is said to be. */
  readonly endpoint: Endpoint | undefined;
}

interface Given extends Due {
  readonly name: SessionName;
  readonly to: number;
  /** Of the question: who repeats it has not had the answer. */
  readonly seq: number;
  readonly window: Window;
  readonly endpoint: Endpoint;
  /** Messages to a node that was given the session unasked, still to be sent. */
  parts: number;
}

export class Handover {
  readonly #core: Core;
  readonly #rowOf: (name: SessionName) => number;
  /** Node that is being asked for a session by this one, or NOBODY. */
  readonly #askedFor: (index: number) => number;
  readonly #questions = new Map<number, Question>();
  readonly #asked = new Map<number, Question>();
  readonly #questionDues = new Deadlines<Question>();
  readonly #given = new Map<number, Given>();
  readonly #givenDues = new Deadlines<Given>();
  #token = 0;

  constructor(core: Core, rowOf: (name: SessionName) => number, askedFor: (index: number) => number) {
    this.#core = core;
    this.#askedFor = askedFor;
    this.#rowOf = rowOf;
  }

  /** A node holds packet `seq` of a session and wants its window. */
  take(node: number, { index, created, seq }: Take): void {
    const { table, config, outcomes, now, ports } = this.#core;
    // It will ask again.
    if (ports.fenced()) return;
    const name = { index, created };
    const row = this.#rowOf(name);
    if (row === NONE) {
      outcomes.add("take_unknown");
      this.#answer(node, name, "unknown");
      return;
    }
    if (!isReachable(this.#core, row, seq)) {
      outcomes.add("number_impossible");
      return;
    }
    const given = this.#given.get(index);
    const owner = table.owner[row];
    // Once the session is known to have moved on, that node had it.
    const isSame = given?.to === node && (given.seq === seq || given.parts > 0) && given.name.created === created;
    if (isSame && owner === node) {
      this.#answer(node, name, "given", NOBODY, given.window);
      return;
    }
    if (owner !== config.node) {
      // It is on its way here, perhaps already given: what the other node holds waits better here than in a circle.
      const asked = this.#askedFor(index);
      if (asked !== NOBODY && asked !== node) {
        this.#answer(node, name, "keep");
        return;
      }
      const elsewhere = owner !== node && owner !== NOBODY;
      this.#answer(node, name, elsewhere ? "moved" : "unknown", elsewhere ? owner : NOBODY);
      return;
    }
    if (now.ms - table.ownedAtMs[row] < KEEP_MS) {
      this.#answer(node, name, "keep");
      return;
    }
    const asked = this.#asked.get(index);
    if (asked?.why === "take" && asked.node === node) return;
    this.#question(name, seq, "take", node);
  }

  /** The shard's answer. */
  yielded({ token, result, window }: Yielded): void {
    const question = this.#questions.get(token);
    if (question === undefined) {
      this.#core.outcomes.add("answer_unexpected");
      return;
    }
    this.#settle(question);
    const { name, why, node } = question;
    const row = this.#rowOf(name);
    if (row === NONE) {
      if (why === "take") this.#answer(node, name, "unknown");
      return;
    }
    if (result === "given" && window !== undefined) {
      // Since it was asked, this node stood still: the window is worth nothing before the others have said so.
      if (this.#core.ports.fenced()) this.#core.emit({ kind: "own", index: name.index, window });
      else this.#give(row, question, window);
      return;
    }
    if (why === "take") {
      if (result === "keep" || result === "stale") {
        this.#answer(node, name, result);
        return;
      }
      const owner = this.#core.table.owner[row];
      const elsewhere = owner !== this.#core.config.node && owner !== node && owner !== NOBODY;
      this.#answer(node, name, elsewhere ? "moved" : "unknown", elsewhere ? owner : NOBODY);
      return;
    }
    if (why === "claim") this.#contradict(row, question, result);
  }

  /** Another node says that it owns what this node owns, since it heard `seq`. The newest packet decides. */
  claimed(row: number, node: number, seq: number, endpoint: Endpoint | undefined): void {
    const [index, created] = [this.#core.table.index[row], this.#core.table.created[row]];
    // A question about an older number may be on its way to the shard, time and again: what it answers says nothing of this one.
    if ((this.#asked.get(index)?.seq ?? NONE) >= seq) return;
    this.#question({ index, created }, seq, "claim", node, endpoint);
  }

  /** Gives the window of an own session to another node. False: it is not own, or there is nobody. */
  part(row: number): boolean {
    const { table, config } = this.#core;
    if (table.owner[row] !== config.node || this.#core.living().length === 0) return false;
    if (this.#core.ports.fenced()) return true;
    const [index, created] = [table.index[row], table.created[row]];
    if (!this.#asked.has(index)) this.#question({ index, created }, SEQ_MAX, "part", NOBODY);
    return true;
  }

  /** Node that this one gave a session within the last second, or NOBODY. */
  gaveTo(index: number): number {
    return this.#given.get(index)?.to ?? NOBODY;
  }

  /** What `node` handed over unasked was taken before, and given to another one since: it says so again, or it is a copy. */
  isRepeated(node: number, index: number, window: Window): boolean {
    const given = this.#given.get(index);
    return given !== undefined && given.to !== node && window.highest <= given.window.highest;
  }

  /** The node that was given a session unasked has it. */
  arrived(node: number, index: number): boolean {
    const given = this.#given.get(index);
    if (given === undefined || given.to !== node || given.parts === 0) return false;
    given.parts = 0;
    this.#givenDues.set(this.#core.now.ms, GIVEN_MS, given);
    return true;
  }

  /** A session leaves the table. */
  ended(index: number): void {
    const given = this.#given.get(index);
    if (given !== undefined) this.#forget(given);
    const question = this.#asked.get(index);
    if (question !== undefined) this.#settle(question);
  }

  /** Session is this node's again: what was given of it is out of date. */
  owned(index: number): void {
    const given = this.#given.get(index);
    if (given !== undefined) this.#forget(given);
  }

  tick(): void {
    const { ms } = this.#core.now;
    for (let due = this.#questionDues.take(ms); due !== undefined; due = this.#questionDues.take(ms)) this.#settle(due);
    for (let due = this.#givenDues.take(ms); due !== undefined; due = this.#givenDues.take(ms)) {
      if (due.parts > 0 && this.#core.alive(due.to)) this.#sayPart(due);
      else this.#forget(due);
    }
  }

  nextTimeout(): number {
    return Math.min(this.#questionDues.next(), this.#givenDues.next());
  }

  #question(name: SessionName, seq: number, why: Question["why"], node: number, endpoint?: Endpoint): void {
    if (this.#questions.size >= FLIPS_MAX) {
      this.#core.outcomes.add("yields_full");
      return;
    }
    this.#token = (this.#token + 1) >>> 0;
    const token = this.#token;
    const question: Question = { token, name, seq, why, node, endpoint, dueMs: 0, waitMs: undefined };
    this.#questions.set(token, question);
    this.#asked.set(name.index, question);
    this.#questionDues.set(this.#core.now.ms, YIELD_MS, question);
    this.#core.emit({ kind: "yield", index: name.index, seq, token });
  }

  #settle(question: Question): void {
    this.#questionDues.clear(question);
    this.#questions.delete(question.token);
    if (this.#asked.get(question.name.index) === question) this.#asked.delete(question.name.index);
  }

  #give(row: number, { name, why, node, seq, endpoint }: Question, window: Window): void {
    const { table, now, outcomes } = this.#core;
    const to = why === "part" ? (this.#core.successor() ?? NOBODY) : node;
    if (to === NOBODY) {
      // Whoever was there is gone: it stays here.
      this.#core.emit({ kind: "own", index: name.index, window });
      return;
    }
    this.#core.setOwner(row, to);
    this.#heard(row, window.highest);
    if (why === "claim") {
      this.#heard(row, seq);
      if (endpoint === undefined) return;
      table.setEndpoint(row, endpoint);
      this.#core.emit({ kind: "locate", index: name.index, endpoint });
      return;
    }
    const old = this.#given.get(name.index);
    if (old !== undefined) this.#forget(old);
    if (this.#given.size >= FLIPS_MAX) this.#forget(this.#given.values().next().value!);
    const given = { name, to, seq, window, endpoint: table.endpoint(row), parts: 0, dueMs: 0, waitMs: undefined };
    this.#given.set(name.index, given);
    if (why === "take") {
      outcomes.add("given");
      this.#givenDues.set(now.ms, GIVEN_MS, given);
      this.#answer(to, name, "given", NOBODY, window);
      return;
    }
    outcomes.add("parted");
    given.parts = PARTS;
    this.#sayPart(given);
  }

  #sayPart(given: Given): void {
    const { name, to, window, endpoint } = given;
    given.parts--;
    this.#core.say(to, { kind: "part", ...name, window, endpoint });
    this.#givenDues.set(this.#core.now.ms, given.parts > 0 ? PART_RETRY_MS : GIVEN_MS, given);
  }

  /** Both of two nodes took packets of a session, and ours are not older: the other one is told. */
  #contradict(row: number, { name, seq, node }: Question, result: Yielded["result"]): void {
    const { table, config, now } = this.#core;
    if (result === "moved") {
      this.#core.setOwner(row, node);
      this.#heard(row, seq);
      return;
    }
    const newest = Math.max(table.high[row], result === "keep" ? seq + 1 : seq);
    // The same number at both: without an order of their own they would disagree for ever.
    if (newest === seq && seq < SEQ_MAX && node > config.node) {
      this.#question(name, SEQ_MAX, "claim", node);
      return;
    }
    table.high[row] = newest;
    table.highAtMs[row] = now.ms;
    const endpoint = table.endpoint(row);
    this.#core.shout({ kind: "moved", ...name, seq: newest, owner: config.node, endpoint });
  }

  /** The client was at this number at another node: should the session come back, no window begins below. */
  #heard(row: number, seq: number): void {
    const { table, now } = this.#core;
    if (seq <= table.high[row] || seq === SEQ_MAX) return;
    table.high[row] = seq;
    table.highAtMs[row] = now.ms;
  }

  #answer(node: number, name: SessionName, result: TakeResult, owner = NOBODY, window?: Window): void {
    this.#core.say(node, { kind: "taken", ...name, result, owner, window });
  }

  #forget(given: Given): void {
    this.#givenDues.clear(given);
    this.#given.delete(given.name.index);
  }
}
