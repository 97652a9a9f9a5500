/**
 * Who belongs to the group and under which keys: the operator's roster and the fleet keys, as they are on disk, come from
 * other nodes, or are made here. A roster that puts a node out is obeyed at once: its link, its ticket keys and what the
 * engine has of it count no more, and the nodes that stay agree on another fleet key. docs/PROTOCOL.md, "The roster".
 */
import type { Core } from "./core.ts";
import { decodeFleetKeys, type FleetKey, FleetKeys, SEALING_MS } from "./fleet_keys.ts";
import type { LinkIdentity } from "./link.ts";
import type { LinkPeer } from "./link_peer.ts";
import { isMember, lastEviction, readRoster, type SignedRoster } from "./roster.ts";
import { Signatures } from "./signatures.ts";
import type { IdentityOptions, Trusted } from "./trust_types.ts";

/** Fleet keys are told to a peer that does not use the newest one, this often. */
const TELL_MS = 1000;
/** Each living member with a lower number may make the key first, and has so long for it. */
const RANK_MS = 1000;
/** A node that was away for more rotations needs the fleet key from a person. */
const ROTATIONS_MAX = 64;

export interface TrustOptions {
  readonly node: number;
  /** The one of the node file. */
  readonly fleetKey: Uint8Array;
  /** Undefined: the group has no roster. */
  readonly identity: IdentityOptions | undefined;
  /** What `agree` was given before this start. */
  readonly keptFleetKeys: Uint8Array | undefined;
}

/** What became of a roster. A sentence: it is not valid, and why. */
export type RosterResult = { readonly result: "in_force" | "known" | "older" } | { readonly fault: string };

export interface TrustHooks {
  /** On disk before it counts. Throws when there is no room. */
  agree(what: "roster" | "fleet_keys", bytes: Uint8Array): void;
  /** These nodes, and no others, may be talked to from now on. */
  setPeers(peers: readonly LinkPeer[]): void;
  /** The newest fleet key is another one, or is used from now on. */
  rekeyed(): void;
  /** Ticket keys that were made under a roster before this version are known to a node that was put out. */
  evicted(version: number): void;
}

export class Trust implements Trusted {
  readonly fleetKeys: FleetKeys;
  readonly signatures: Signatures;
  readonly #options: TrustOptions;
  #roster: SignedRoster | undefined;
  #core!: Core;
  #hooks!: TrustHooks;
  #tellMs = 0;
  /** When this node makes a fleet key, unless another one has by then. */
  #makesMs: number | undefined;
  #usesMs: number | undefined;

  constructor(options: TrustOptions) {
    this.#options = options;
    this.fleetKeys = new FleetKeys(options.fleetKey, options.keptFleetKeys);
    const { identity } = options;
    this.signatures = new Signatures(identity?.signing, () => this.#roster);
    const kept = identity?.roster === undefined ? undefined : this.#read(identity.roster);
    if (typeof kept === "object") this.#roster = kept;
  }

  begin(core: Core, hooks: TrustHooks): void {
    this.#core = core;
    this.#hooks = hooks;
    if (this.#roster !== undefined) this.#obey(this.#roster);
  }

  /** For the link; undefined: nodes are known by the fleet key alone. */
  get identity(): LinkIdentity | undefined {
    const { identity } = this.#options;
    return identity && { signing: identity.signing, roster: this.#roster };
  }

  get roster(): SignedRoster | undefined {
    return this.#roster;
  }

  /** Whether something that was told through the engine may be of this node. */
  isHeard(node: number): boolean {
    return this.#options.identity === undefined || (this.#roster !== undefined && isMember(this.#roster, node));
  }

  isListed(node: number): boolean {
    return this.#roster === undefined || this.#roster.nodes.some((one) => one.node === node);
  }

  /** A key that is made now is marked with it. */
  get version(): number {
    return this.#roster?.version ?? 0;
  }

  /** Keys that were made under an older roster than this count no more. */
  get lastEviction(): number {
    return lastEviction(this.#roster);
  }

  learnRoster(text: string): RosterResult {
    if (this.#options.identity === undefined)
      return { fault: "this node has no operator in its file, so it takes no roster" };
    const roster = this.#read(text);
    if (typeof roster === "string") return { fault: roster };
    if (roster.version < this.version) return { result: "older" };
    if (roster.version === this.version) {
      return roster.text === this.#roster?.text
        ? { result: "known" }
        : { fault: `the operator has signed two rosters of version ${roster.version}: sign another one` };
    }
    const before = this.lastEviction;
    this.#hooks.agree("roster", new TextEncoder().encode(text));
    this.#roster = roster;
    this.#core.link.setRoster(roster);
    const said = `Roster ${roster.version} is in force: ${describe(roster)}.`;
    this.#core.emit({ kind: "notice", level: "notice", code: "roster", text: said });
    this.#obey(roster);
    if (this.lastEviction > before) this.#hooks.evicted(this.lastEviction);
    return { result: "in_force" };
  }

  /** Another node tells the fleet keys that it knows. */
  learnFleetKeys(encoded: Uint8Array): void {
    const keys = decodeFleetKeys(encoded);
    if (keys === undefined) this.#core.outcomes.add("link_malformed");
    // Without signatures any of the nodes could be the one that was stolen.
    else if (this.#options.identity !== undefined) this.#learn(keys);
  }

  /** Makes a fleet key and tells it. False: the group has no roster. */
  rotate(): boolean {
    if (this.#roster === undefined) return false;
    this.#makesMs = undefined;
    this.#learn([this.fleetKeys.next(this.#core.ports.entropy.bytes(32), this.version)]);
    return true;
  }

  /** A peer came: it may have missed a rotation. */
  met(node: number): void {
    if (this.#options.identity !== undefined) this.#tell(node);
  }

  tick(): void {
    const { ms } = this.#core.now;
    if (this.#makesMs !== undefined && ms >= this.#makesMs) {
      this.#makesMs = undefined;
      if (this.#wantsKey) this.rotate();
    }
    if (this.#usesMs !== undefined && ms >= this.#usesMs) {
      this.#usesMs = undefined;
      this.#hooks.rekeyed();
    }
    if (ms < this.#tellMs || this.#options.identity === undefined) return;
    this.#tellMs = ms + TELL_MS;
    const { newest } = this.fleetKeys;
    for (const node of this.#core.living()) if (this.#core.link.fleetIdOf(node) !== newest.id) this.#tell(node);
  }

  nextTimeout(): number {
    return Math.min(
      this.#makesMs ?? Number.POSITIVE_INFINITY,
      this.#usesMs ?? Number.POSITIVE_INFINITY,
      this.#options.identity === undefined ? Number.POSITIVE_INFINITY : this.#tellMs,
    );
  }

  #read(text: string): SignedRoster | string {
    const { group, operator } = this.#options.identity!;
    return readRoster(text, group, operator);
  }

  #obey(roster: SignedRoster): void {
    const { config, peers, now } = this.#core;
    const out = new Set(roster.nodes.filter(({ evictedIn }) => evictedIn !== undefined).map(({ node }) => node));
    if ([...peers].some((node) => out.has(node)))
      this.#hooks.setPeers(config.peers.filter(({ node }) => !out.has(node)));
    if (out.has(config.node)) {
      const text = `The operator has put node ${config.node} out of the group (roster ${roster.version})`;
      this.#core.emit({ kind: "refuse", code: "evicted", text: `${text}: it serves nobody any more.` });
      return;
    }
    const rank = this.#core.living().filter((node) => node < config.node && !out.has(node)).length;
    if (this.#wantsKey) this.#makesMs = now.ms + rank * RANK_MS;
  }

  get #wantsKey(): boolean {
    return this.fleetKeys.newest.roster < this.lastEviction;
  }

  #learn(keys: readonly FleetKey[]): void {
    const { newest } = this.fleetKeys;
    const sound = keys.filter(
      ({ roster, rotation }) => roster <= this.version && rotation <= newest.rotation + ROTATIONS_MAX,
    );
    const { ms } = this.#core.now;
    const before = this.fleetKeys.all.length;
    if (!this.fleetKeys.learn(ms, sound)) {
      if (this.fleetKeys.all.length > before) this.#hooks.agree("fleet_keys", this.fleetKeys.encode());
      return;
    }
    this.#hooks.agree("fleet_keys", this.fleetKeys.encode());
    const text = `The nodes have another fleet key (rotation ${this.fleetKeys.newest.rotation}).`;
    this.#core.emit({ kind: "notice", level: "notice", code: "fleet_key", text });
    this.#usesMs = ms + SEALING_MS;
    this.#hooks.rekeyed();
    for (const node of this.#core.living()) this.#tell(node);
  }

  #tell(node: number): void {
    this.#core.say(node, { kind: "fleet_keys", value: this.fleetKeys.encode() });
  }
}

function describe({ nodes }: SignedRoster): string {
  const members = nodes.filter(({ evictedIn }) => evictedIn === undefined).map(({ node }) => node);
  const out = nodes.filter(({ evictedIn }) => evictedIn !== undefined).map(({ node }) => node);
  const list = (numbers: readonly number[]) => `node${numbers.length === 1 ? "" : "s"} ${numbers.join(", ")}`;
  return `${members.length === 0 ? "no node" : list(members)}${out.length === 0 ? "" : `; put out: ${list(out)}`}`;
}
