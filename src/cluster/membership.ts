/**
 * Who is in the group now: which start of each node, when it was heard on link and bus, what it says of itself; and whether
 * this node may be who it says. Nodes that disagree about the sessions are named (`resync.ts`).
 */
import { equalBytes } from "../crypto/kdf.ts";
import type { Core } from "./core.ts";
import type { Opened } from "./envelope.ts";
import type { GroupSender } from "./group_types.ts";
import type { Heartbeat } from "./heartbeat.ts";
import type { DeathCause, LifelineEvent } from "./lifeline_types.ts";
import type { LinkOutput } from "./link.ts";
import type { LinkPeer } from "./link_peer.ts";
import type { Resync } from "./resync.ts";

/** Over the bus; the link has its own beat. */
export const BEAT_MS = 1000;
/** Without a beat for so long, a node is not there as far as the bus can tell. */
const SILENT_MS = 3000;
/** How long a node that begins, here or there, may know less than the others. */
const SETTLE_MS = 10_000;
/** A node that hears its own number this early came later than the one that it hears. */
const EARLY_MS = 10_000;
/** A start that was refused for so long is not just a quick restart: the one before it would be dead by now. */
const REFUSED_MS = 3000;
/** What an engine shows once may be from before; a living node beats on. */
const TWICE_MS = BEAT_MS / 2;

/** How long a node may be heard on the link alone: its TCP connection is made within a second. */
const NO_LIFELINE_MS = 5000;

/** After "Node N". */
const deaths: Readonly<Record<DeathCause, string>> = {
  closed: "is dead: its daemon has ended.",
  left: "has left.",
  silent: "is dead: nothing has been heard of it for longer than it was ever late.",
  restarted: "has started anew.",
};

/** What is known of one other node. */
export interface Member {
  bootId: Uint8Array | undefined;
  aliveSinceMs: number | undefined;
  /** Last record or shout through the bus, and the last beat of it. */
  busMs: number | undefined;
  beatMs: number | undefined;
  beatCounter: number;
  beatWallMs: number;
  heartbeat: Heartbeat | undefined;
  /** It was told to people that this node serves another group. */
  otherGroup: boolean;
  /** Why it counts as dead, as the lifeline has it; undefined: it does not. */
  death: DeathCause | undefined;
  /** It was told to people that TCP does not come through. */
  toldDeaf: boolean;
}

type Refused = Extract<LinkOutput, { kind: "refused_by" }>;

export class Membership {
  readonly #core: Core;
  readonly #resync: Resync;
  readonly #members = new Map<number, Member>();
  readonly #startMs: number;
  #twin: { readonly bootId: Uint8Array; readonly counter: number; readonly ms: number } | undefined;
  #refused = false;
  #refusedSinceMs: number | undefined;
  #nextBeatMs: number;
  /** Keys that this node has from the engine are all that there were. */
  caughtUp = false;
  connected = false;
  drain: Heartbeat["drain"] = "serving";

  constructor(core: Core, resync: Resync) {
    this.#core = core;
    this.#resync = resync;
    this.#startMs = core.now.ms;
    this.#nextBeatMs = core.now.ms;
    for (const node of core.peers) this.#members.set(node, newMember());
  }

  /** Other nodes came into the configuration, or went. */
  setPeers(peers: readonly LinkPeer[]): void {
    const { peers: known, link, leaving, deaf } = this.#core;
    link.setPeers(this.#core.now, peers);
    const wanted = new Set(peers.map((peer) => peer.node));
    for (const node of [...known]) {
      if (wanted.has(node)) continue;
      known.delete(node);
      leaving.delete(node);
      deaf.delete(node);
      this.#members.delete(node);
      this.#resync.forget(node);
    }
    for (const node of wanted) {
      known.add(node);
      if (!this.#members.has(node)) this.#members.set(node, newMember());
    }
    this.#core.emit({ kind: "senders" });
  }

  /** What is known of a node of the configuration. */
  member(node: number): Member | undefined {
    return this.#members.get(node);
  }

  /** This node and all others that live, each with its present start: for grants. */
  senders(): GroupSender[] {
    const { node, bootId } = this.#core.config;
    const senders: GroupSender[] = [{ senderId: node, bootId }];
    for (const [senderId, member] of this.#members) {
      if (member.bootId !== undefined && this.#lives(senderId, member))
        senders.push({ senderId, bootId: member.bootId });
    }
    return senders;
  }

  /** `to`: the node that hears it on the link; undefined: all, on the bus. */
  heartbeat(to?: number): Heartbeat {
    const { now, table, version, digest, config } = this.#core;
    const deaf = to !== undefined && this.#isDeafTo(to);
    const creators = [config.node, ...this.#members.keys()];
    return {
      ...{ kind: "heartbeat", wallMs: now.wallMs, sessions: table.size, version, drain: this.drain, deaf },
      digest: digest.entries(creators),
    };
  }

  /** There is evidence that a node is dead. */
  died({ node, cause }: Extract<LifelineEvent, { kind: "dead" }>): void {
    const member = this.#members.get(node);
    if (member !== undefined) member.death = cause;
  }

  /** What the link found out about a node. */
  linkSays(output: LinkOutput): void {
    if (output.kind === "alive") this.#alive(output.node, output.bootId);
    else if (output.kind === "dead") this.#dead(output.node);
    else if (output.kind === "beat") this.#core.say(output.node, this.heartbeat(output.node));
    else if (output.kind === "refused_by") this.#refusedBy(output);
  }

  /** A heartbeat on the link: the comparison of digests is made here, without delay. */
  linkBeat(node: number, heartbeat: Heartbeat): void {
    const member = this.#members.get(node);
    if (member === undefined) return;
    this.#note(node, member, heartbeat);
    if (heartbeat.deaf) this.#core.deaf.add(node);
    else this.#core.deaf.delete(node);
    const { ms } = this.#core.now;
    const settled = ms - this.#startMs >= SETTLE_MS && ms - (member.aliveSinceMs ?? ms) >= SETTLE_MS;
    if (settled && (this.caughtUp || !this.connected)) this.#resync.comparison.observe(ms, node, heartbeat.digest);
  }

  /** Something authentic of a node came through the bus. False: it is said to be of this node. */
  busSays(opened: Opened): boolean {
    const { config, now, shoutMs } = this.#core;
    if (opened.node === config.node) return false;
    const member = this.#members.get(opened.node);
    if (member !== undefined) member.busMs = now.ms;
    shoutMs.set(opened.node, now.ms);
    return true;
  }

  busBeat(opened: Opened, heartbeat: Heartbeat): void {
    const member = this.#members.get(opened.node);
    if (member === undefined) {
      this.#core.outcomes.add("peer_unknown");
      return;
    }
    // An engine may show old messages again: those of one start count up, and starts follow one another.
    const same = member.bootId !== undefined && equalBytes(member.bootId, opened.bootId);
    if (same ? opened.counter <= member.beatCounter : heartbeat.wallMs <= member.beatWallMs) return;
    if (!same && this.#core.alive(opened.node)) return;
    member.beatMs = this.#core.now.ms;
    member.beatCounter = opened.counter;
    member.beatWallMs = heartbeat.wallMs;
    this.#note(opened.node, member, heartbeat);
    if (same) return;
    member.bootId = opened.bootId;
    this.#core.emit({ kind: "senders" });
  }

  /** A shout under this node's number from another start: a second node has it, or it is of an earlier life. */
  twin(opened: Opened): void {
    const { now, outcomes, config } = this.#core;
    if (equalBytes(opened.bootId, config.bootId)) return;
    const before = this.#twin;
    const again = before !== undefined && equalBytes(before.bootId, opened.bootId) && opened.counter > before.counter;
    if (!again) this.#twin = { bootId: opened.bootId, counter: opened.counter, ms: now.ms };
    if (!again || now.ms - before.ms < TWICE_MS) return;
    outcomes.add("node_id_taken");
    this.#twin = { ...before, counter: opened.counter };
    // A node that others talk to over the link is the first of the two for them.
    if (now.ms - this.#startMs < EARLY_MS && this.#core.living().length === 0)
      this.#refuse(`Another node is node ${config.node} already`);
    else
      this.#core.emit({
        ...{ kind: "notice", level: "warning" },
        code: "node_id_taken",
        text: `A second node calls itself node ${config.node}: give each its own number in [group] node.`,
      });
  }

  tick(): void {
    const { now } = this.#core;
    if (now.ms < this.#nextBeatMs) return;
    this.#nextBeatMs = now.ms + BEAT_MS;
    this.#core.shout(this.heartbeat());
    for (const [node, member] of this.#members) {
      this.#lookForLifeline(node, member);
      if (member.beatMs === undefined || this.#lives(node, member)) continue;
      member.beatMs = undefined;
      this.#core.emit({ kind: "senders" });
    }
  }

  nextTimeout(): number {
    return this.#nextBeatMs;
  }

  /** Heard over UDP, and still without a TCP connection: that is a fault of the network between the two. */
  #lookForLifeline(node: number, member: Member): void {
    const { now, dead } = this.#core;
    const isOdd = member.aliveSinceMs !== undefined && dead.has(node) && now.ms - member.aliveSinceMs > NO_LIFELINE_MS;
    if (isOdd && !member.toldDeaf) {
      const text = `Node ${node} is heard on the node link, but no TCP connection to it stands: let UDP and TCP of the link's port through.`;
      this.#core.emit({ kind: "notice", level: "warning", code: "no_lifeline", text });
    }
    member.toldDeaf = isOdd;
  }

  /** Nothing of this living node comes through the engine, which has its beat each second. */
  #isDeafTo(node: number): boolean {
    const member = this.#members.get(node);
    if (this.#core.busAway || member?.aliveSinceMs === undefined) return this.#core.busAway;
    return this.#core.now.ms - Math.max(member.aliveSinceMs, member.busMs ?? 0) > SILENT_MS;
  }

  #lives(node: number, member: Member): boolean {
    return this.#core.alive(node) || (member.beatMs !== undefined && this.#core.now.ms - member.beatMs < SILENT_MS);
  }

  #alive(node: number, bootId: Uint8Array): void {
    const member = this.#members.get(node);
    if (member === undefined) return;
    const same = member.bootId !== undefined && equalBytes(member.bootId, bootId);
    member.aliveSinceMs = this.#core.now.ms;
    member.bootId = bootId;
    member.otherGroup = false;
    member.death = undefined;
    this.#refusedSinceMs = undefined;
    if (!same) member.beatCounter = -1;
    this.#resync.forget(node);
    this.#core.emit({ kind: "senders" });
    this.#core.emit({ kind: "notice", level: "notice", code: "peer_alive", text: `Node ${node} is there.` });
  }

  #dead(node: number): void {
    const member = this.#members.get(node);
    if (member === undefined) return;
    member.aliveSinceMs = undefined;
    this.#core.leaving.delete(node);
    this.#core.deaf.delete(node);
    this.#resync.forget(node);
    this.#core.emit({ kind: "senders" });
    const text = `Node ${node} ${member.death === undefined ? "does not answer on the node link." : deaths[member.death]}`;
    const told = member.death === "left" || member.heartbeat?.drain === "leaving";
    this.#core.emit({ kind: "notice", level: told ? "notice" : "warning", code: "peer_dead", text });
  }

  #note(node: number, member: Member, heartbeat: Heartbeat): void {
    member.heartbeat = heartbeat;
    if (heartbeat.drain === "serving") this.#core.leaving.delete(node);
    else this.#core.leaving.add(node);
  }

  #refusedBy({ node, reason }: Refused): void {
    const { config, now } = this.#core;
    if (reason === "duplicate_node") {
      this.#refusedSinceMs ??= now.ms;
      if (now.ms - this.#refusedSinceMs < REFUSED_MS) return;
      this.#refuse(`Node ${node} says that another node is node ${config.node} already`);
      return;
    }
    const member = this.#members.get(node);
    // Without a roster here or there that is so until one of them comes; `status` says it.
    if (reason === "not_member" || member === undefined || member.otherGroup) return;
    member.otherGroup = true;
    const text = `Node ${node} has another group key: private_key must be the same on every node of a group.`;
    this.#core.emit({ kind: "notice", level: "warning", code: "other_group", text });
  }

  #refuse(what: string): void {
    if (this.#refused) return;
    this.#refused = true;
    const text = `${what}: give each node its own number in [group] node.`;
    this.#core.emit({ kind: "refuse", code: "node_id_taken", text });
  }
}

const newMember = (): Member => ({
  ...{ bootId: undefined, aliveSinceMs: undefined, busMs: undefined, beatMs: undefined },
  ...{ beatCounter: -1, beatWallMs: 0, heartbeat: undefined, otherGroup: false, death: undefined, toldDeaf: false },
});
