/**
 * The other end: nodes that watch this one connect to it. Sends them beats, and remembers which of them have heard this
 * node lately and which have taken it for dead. A connection is nobody's until an answer to one of our beats came over it,
 * so a recorded hello does nothing. Sans-IO.
 */
import { equalBytes } from "../crypto/kdf.ts";
import {
  decodeHello,
  encodeWelcome,
  FRAME_LEN,
  FrameKey,
  HELLO_LEN,
  type Hello,
  Inbox,
  NONCE_LEN,
  pairOfHello,
} from "./lifeline_bytes.ts";
import { BEAT_MS, type LifelineOptions, type LifelineOutput } from "./lifeline_types.ts";

/** Connections of one peer that have not proven themselves: its next one, and what a stranger on the path makes. */
const UNPROVEN_MAX = 4;
/** Proof comes with the first answer to a beat. */
const PROOF_MS = 2000;
/** Who watches and does not answer for so long is gone. */
const SILENT_MS = 5000;

interface Watcher {
  readonly connection: number;
  readonly node: number;
  readonly inbox: Inbox;
  /** Its hello is under a secret that is not known here, perhaps not yet. */
  waiting: Uint8Array | undefined;
  hello: Hello | undefined;
  keys: { readonly watcher: FrameKey; readonly watched: FrameKey } | undefined;
  proven: boolean;
  beatMs: number;
  heardMs: number;
}

export interface WatchedPorts {
  readonly options: LifelineOptions;
  readonly secretsOf: (node: number) => readonly Uint8Array[];
  /** A proven watcher has heard a beat that was sent at `sentMs`. */
  readonly onHeard: (node: number, sentMs: number) => void;
  /** A watcher has proven itself. `condemned`: it took this start for dead since it was here last. */
  readonly onProven: (nowMs: number, node: number, condemned: boolean) => void;
}

export class Watched {
  readonly #use: WatchedPorts;
  readonly #watchers = new Map<number, Watcher>();
  /** By node: its start, and how often that has taken this one for dead, as far as was told. */
  readonly #told = new Map<number, { readonly bootId: Uint8Array; readonly times: number }>();

  constructor(ports: WatchedPorts) {
    this.#use = ports;
  }

  has(connection: number): boolean {
    return this.#watchers.has(connection);
  }

  /** Nodes that watch this one now. */
  get nodes(): number[] {
    return [...this.#watchers.values()].filter(({ proven }) => proven).map(({ node }) => node);
  }

  /** A connection from the address of `node`. False: it has too many that have proven nothing. */
  accepted(nowMs: number, connection: number, node: number): boolean {
    const unproven = [...this.#watchers.values()].filter((one) => one.node === node && !one.proven);
    if (unproven.length >= UNPROVEN_MAX) return false;
    this.#watchers.set(connection, {
      ...{ connection, node, inbox: new Inbox(), waiting: undefined, hello: undefined, keys: undefined, proven: false },
      ...{ beatMs: nowMs, heardMs: nowMs },
    });
    return true;
  }

  received(nowMs: number, connection: number, bytes: Uint8Array, out: LifelineOutput[]): void {
    const watcher = this.#watchers.get(connection)!;
    watcher.inbox.add(bytes);
    if (watcher.keys === undefined && !this.#greeted(nowMs, watcher, out)) return;
    for (let part = watcher.inbox.take(FRAME_LEN); part; part = watcher.inbox.take(FRAME_LEN)) {
      const frame = watcher.keys!.watcher.open(part);
      if (frame?.kind !== "ack") {
        this.#drop(watcher, out);
        return;
      }
      watcher.heardMs = nowMs;
      if (!watcher.proven) this.#prove(nowMs, watcher, out);
      this.#use.onHeard(watcher.node, frame.value);
    }
  }

  ended(connection: number): void {
    this.#watchers.delete(connection);
  }

  /** There are other secrets with `node`: its hello may have come before they did. */
  agreed(nowMs: number, node: number, out: LifelineOutput[]): void {
    for (const watcher of [...this.#watchers.values()])
      if (watcher.node === node && watcher.waiting !== undefined) this.#welcome(nowMs, watcher, watcher.waiting, out);
  }

  /** Peers that are not there any more. */
  forget(node: number, out: LifelineOutput[]): void {
    this.#told.delete(node);
    for (const watcher of [...this.#watchers.values()]) if (watcher.node === node) this.#drop(watcher, out);
  }

  /** Says to all that this node lives, at once. */
  beat(nowMs: number, out: LifelineOutput[]): void {
    for (const watcher of this.#watchers.values()) if (watcher.keys !== undefined) this.#beat(nowMs, watcher, out);
  }

  /** Says to all that this node ends. */
  leave(out: LifelineOutput[]): void {
    for (const { connection, keys } of this.#watchers.values()) {
      if (keys === undefined) continue;
      out.push({ kind: "write", connection, bytes: keys.watched.seal({ kind: "leaving", value: 0 }) });
    }
  }

  tick(nowMs: number, out: LifelineOutput[]): void {
    for (const watcher of [...this.#watchers.values()]) {
      if (nowMs - watcher.heardMs >= (watcher.proven ? SILENT_MS : PROOF_MS)) this.#drop(watcher, out);
      else if (watcher.keys !== undefined && nowMs >= watcher.beatMs) this.#beat(nowMs, watcher, out);
    }
  }

  nextTimeout(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { keys, beatMs, heardMs } of this.#watchers.values())
      next = Math.min(next, keys === undefined ? heardMs + PROOF_MS : beatMs);
    return next;
  }

  #beat(nowMs: number, watcher: Watcher, out: LifelineOutput[]): void {
    watcher.beatMs = nowMs + BEAT_MS;
    const bytes = watcher.keys!.watched.seal({ kind: "beat", value: Math.floor(nowMs) });
    out.push({ kind: "write", connection: watcher.connection, bytes });
  }

  /** False: no authentic hello came yet. */
  #greeted(nowMs: number, watcher: Watcher, out: LifelineOutput[]): boolean {
    // Nobody says more before he is welcome.
    const bytes = watcher.waiting === undefined ? watcher.inbox.take(HELLO_LEN) : undefined;
    if (bytes === undefined) {
      if (watcher.waiting !== undefined) this.#drop(watcher, out);
      return false;
    }
    const pair = pairOfHello(bytes);
    if (pair?.from !== watcher.node || pair.to !== this.#use.options.node) {
      this.#drop(watcher, out);
      return false;
    }
    return this.#welcome(nowMs, watcher, bytes, out);
  }

  /** False: the hello is under no secret that is known here. */
  #welcome(nowMs: number, watcher: Watcher, bytes: Uint8Array, out: LifelineOutput[]): boolean {
    const { node, bootId, entropy } = this.#use.options;
    let hello: Hello | undefined;
    const secret = this.#use.secretsOf(watcher.node).find((one) => {
      hello = decodeHello(one, bytes);
      return hello !== undefined;
    });
    if (hello === undefined || secret === undefined) {
      watcher.waiting = bytes;
      return false;
    }
    watcher.waiting = undefined;
    const welcome = encodeWelcome(secret, bytes, {
      ...{ from: node, to: watcher.node, bootId, nonce: entropy.bytes(NONCE_LEN) },
    });
    watcher.hello = hello;
    watcher.keys = {
      watcher: new FrameKey(secret, "watcher", bytes, welcome),
      watched: new FrameKey(secret, "watched", bytes, welcome),
    };
    out.push({ kind: "write", connection: watcher.connection, bytes: welcome });
    this.#beat(nowMs, watcher, out);
    return true;
  }

  /** Its newest connection counts. */
  #prove(nowMs: number, watcher: Watcher, out: LifelineOutput[]): void {
    watcher.proven = true;
    for (const other of [...this.#watchers.values()])
      if (other !== watcher && other.node === watcher.node && other.proven) this.#drop(other, out);
    const { bootId, condemned, times } = watcher.hello!;
    const told = this.#told.get(watcher.node);
    const before = told !== undefined && equalBytes(told.bootId, bootId) ? told.times : 0;
    const now = equalBytes(condemned, this.#use.options.bootId) ? times : 0;
    this.#told.set(watcher.node, { bootId, times: now });
    this.#use.onProven(nowMs, watcher.node, now > before);
  }

  #drop({ connection }: Watcher, out: LifelineOutput[]): void {
    this.#watchers.delete(connection);
    out.push({ kind: "close", connection });
  }
}
