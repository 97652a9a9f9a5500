/**
 * The lifelines of all nodes of a group in memory: TCP connections as they behave, on virtual time. Bytes come in order or
 * not at all; what is cut off waits and comes when the cut is mended; the end of a process ends its connections, the end of
 * its host ends nothing.
 */
import { Lifeline } from "../cluster/lifeline.ts";
import type {
  ConnectionEnd,
  LifelineEvent,
  LifelineOptions,
  LifelineOutput,
  LinkSecrets,
} from "../cluster/lifeline_types.ts";
import type { Now } from "../cluster/now.ts";

/** A segment that was lost, or not let through, is sent again after this time (RFC 6298 section 2.4, as Linux has it). */
const AGAIN_MS = 200;
const BACKOFFS = 3;

export interface LifelineWires {
  now(node: number): Now;
  later(delayMs: number, act: () => void): void;
  /** Of one segment; undefined: it is lost. */
  delayMs(from: number, to: number): number | undefined;
  isCut(from: number, to: number): boolean;
  /** For how long the control thread of a node has not run, ms; undefined: none ever hangs. */
  controlSilentMs?(node: number): number;
  /** Carries out what a node does, as that node. */
  as(node: number, act: () => void): void;
}

/** One direction of one connection. */
interface Pipe {
  readonly from: Member;
  readonly to: Member;
  readonly waiting: (Uint8Array | "end")[];
  pumping: boolean;
}

/** One end of a connection. */
interface End {
  readonly connection: number;
  readonly out: Pipe;
  open: boolean;
  /** The other one, once it has been accepted. */
  peer: End | undefined;
}

interface Member {
  readonly node: number;
  readonly lifeline: Lifeline;
  readonly tell: (event: LifelineEvent) => void;
  /** Told that its thread runs. */
  readonly ran: (nowMs: number) => void;
  readonly ends: Map<number, End>;
  /** It is gone: nobody is told anything any more. */
  dead: boolean;
  /** It stands still until then; what happens to it meanwhile it finds afterwards. */
  asleepMs: number;
  /** Kept back while it stands still, in order. */
  missed: (() => void)[];
}

/** What one node has of it. */
export interface MemoryLifeline {
  heard(node: number, ms: number): void;
  setPeers(peers: LifelineOptions["peers"]): void;
  agreed(agreed: LinkSecrets): void;
  status(): ReturnType<Lifeline["status"]>;
  /** Says farewell and ends. */
  close(): void;
}

export class MemoryLifelines {
  readonly #wires: LifelineWires;
  readonly #members = new Map<number, Member>();
  /** Hosts without power: they answer nothing. */
  readonly #dark = new Set<number>();

  constructor(wires: LifelineWires) {
    this.#wires = wires;
  }

  start(
    options: LifelineOptions,
    tell: (event: LifelineEvent) => void,
    ran: (nowMs: number) => void = () => {},
  ): MemoryLifeline {
    const { node } = options;
    const now = () => this.#wires.now(node);
    const lifeline = new Lifeline(now(), options);
    const member: Member = {
      ...{ node, lifeline, tell, ran, ends: new Map(), dead: false, asleepMs: 0, missed: [] },
    };
    this.#dark.delete(node);
    this.#members.set(node, member);
    this.#tick(member);
    return {
      heard: (peer, ms) => lifeline.heard(peer, ms),
      setPeers: (peers) => this.#in(member, (out) => lifeline.setPeers(now(), peers, out)),
      agreed: (agreed) => this.#in(member, (out) => lifeline.agreed(now(), agreed, out)),
      status: () => lifeline.status(now()),
      close: () => {
        this.#in(member, (out) => lifeline.leave(out));
        this.kill(node);
      },
    };
  }

  /** The process ends; `host`: the host too, and nobody hears of it. */
  kill(node: number, host = false): void {
    const member = this.#members.get(node);
    if (member === undefined) return;
    member.dead = true;
    this.#members.delete(node);
    if (host) this.#dark.add(node);
    else for (const end of member.ends.values()) this.#send(end, "end");
  }

  /** The node stands still. */
  pause(node: number, forMs: number): void {
    const member = this.#members.get(node);
    if (member === undefined || member.asleepMs > this.#nowMs(node)) return;
    member.asleepMs = this.#nowMs(node) + forMs;
    this.#wires.later(forMs, () => {
      const missed = member.missed;
      member.missed = [];
      for (const act of missed) act();
    });
  }

  #nowMs(node: number): number {
    return this.#wires.now(node).ms;
  }

  #tick(member: Member): void {
    if (member.dead) return;
    const { lifeline, node } = member;
    this.#in(member, (out) => {
      lifeline.controlSilent(this.#wires.now(node), this.#wires.controlSilentMs?.(node) ?? 0, out);
      lifeline.tick(this.#wires.now(node), out);
      const wait = Math.max(1, lifeline.nextTimeout() - this.#nowMs(node));
      this.#wires.later(wait, () => this.#tick(member));
    });
  }

  /** Something happens at a node: now, or when it moves again. */
  #in(member: Member, act: (out: LifelineOutput[]) => void): void {
    if (member.dead) return;
    if (member.asleepMs > this.#nowMs(member.node)) {
      member.missed.push(() => this.#in(member, act));
      return;
    }
    this.#wires.as(member.node, () => {
      const out: LifelineOutput[] = [];
      act(out);
      for (const output of out) this.#carryOut(member, output);
      member.ran(this.#nowMs(member.node));
    });
  }

  #carryOut(member: Member, output: LifelineOutput): void {
    if (output.kind === "event") {
      member.tell(output.event);
      return;
    }
    if (output.kind === "connect") {
      this.#connect(member, output.connection, output.node);
      return;
    }
    const end = member.ends.get(output.connection);
    if (end === undefined) return;
    if (output.kind === "write") this.#send(end, output.bytes);
    else {
      member.ends.delete(output.connection);
      end.open = false;
      this.#send(end, "end");
    }
  }

  #connect(member: Member, connection: number, node: number, tries = 0): void {
    const { node: own, lifeline } = member;
    const end: End = { connection, out: pipe(member, member), open: true, peer: undefined };
    if (tries === 0) member.ends.set(connection, end);
    if (member.dead || !member.ends.has(connection)) return;
    const wayMs = this.#wires.delayMs(own, node);
    if (wayMs === undefined || this.#wires.isCut(own, node) || this.#wires.isCut(node, own) || this.#dark.has(node)) {
      this.#wires.later(AGAIN_MS * 2 ** Math.min(tries, BACKOFFS), () =>
        this.#connect(member, connection, node, tries + 1),
      );
      return;
    }
    const fail = (how: ConnectionEnd) => {
      this.#in(member, (out) => {
        if (!member.ends.delete(connection)) return;
        lifeline.ended(this.#wires.now(own), connection, how, out);
      });
    };
    this.#wires.later(wayMs, () => {
      const other = this.#members.get(node);
      const backMs = this.#wires.delayMs(node, own) ?? AGAIN_MS;
      if (other === undefined) {
        this.#wires.later(backMs, () => fail("refused"));
        return;
      }
      // The kernel answers for a process that stands still.
      const here: End = { connection, out: pipe(member, other), open: true, peer: undefined };
      const there: End = { connection: 0, out: pipe(other, member), open: true, peer: here };
      this.#in(other, (out) => {
        const from = other.lifeline.endpointOf(own);
        const accepted = from && other.lifeline.accepted(this.#wires.now(node), from, out);
        if (accepted === undefined) {
          this.#send(there, "end");
          return;
        }
        const end = { ...there, connection: accepted };
        here.peer = end;
        other.ends.set(accepted, end);
        this.#pump(here.out, here);
      });
      this.#wires.later(backMs, () =>
        this.#in(member, (out) => {
          if (!member.ends.has(connection)) return;
          member.ends.set(connection, here);
          lifeline.opened(this.#wires.now(own), connection, out);
        }),
      );
    });
  }

  #send(end: End, what: Uint8Array | "end"): void {
    end.out.waiting.push(what);
    this.#pump(end.out, end);
  }

  #pump(line: Pipe, end: End, tries = 0): void {
    if (tries === 0 && (line.pumping || line.waiting.length === 0 || end.peer === undefined)) return;
    line.pumping = true;
    const { from, to } = line;
    const wayMs = this.#wires.delayMs(from.node, to.node);
    if (wayMs === undefined || this.#wires.isCut(from.node, to.node) || this.#wires.isCut(to.node, from.node)) {
      this.#wires.later(AGAIN_MS * 2 ** Math.min(tries, BACKOFFS), () => this.#pump(line, end, tries + 1));
      return;
    }
    this.#wires.later(wayMs, () => {
      const what = line.waiting.shift();
      line.pumping = false;
      if (what !== undefined) this.#arrive(to, end, what);
      this.#pump(line, end);
    });
  }

  #arrive(to: Member, end: End, what: Uint8Array | "end"): void {
    const { lifeline, node } = to;
    this.#in(to, (out) => {
      const peer = end.peer!;
      // The kernel of who has closed it refuses what still comes; in the end both know.
      if (!to.ends.has(peer.connection)) return;
      if (what !== "end") {
        lifeline.received(this.#wires.now(node), peer.connection, what, out);
        return;
      }
      to.ends.delete(peer.connection);
      lifeline.ended(this.#wires.now(node), peer.connection, "closed", out);
    });
  }
}

const pipe = (from: Member, to: Member): Pipe => ({ from, to, waiting: [], pumping: false });
