/**
 * The keys of one start of this node and one start of a peer. They come from two ephemeral X25519 keys, which are thrown
 * away within little more than an hour: who steals the fleet key and the nodes' signing keys later opens nothing that was
 * recorded. A new key is used when the peer has shown that it has it; the one before opens as long as it is used.
 */
import { hmac } from "../crypto/blake2s.ts";
import { CounterWindow } from "../crypto/counter_window.ts";
import { equalBytes, expand } from "../crypto/kdf.ts";
import type { KeyPair } from "../crypto/x25519.ts";
import { Writer } from "./bytes.ts";
import { BOOT_ID_LEN } from "./envelope.ts";

/** An ephemeral key is replaced after this; its keys open nothing that is older. */
export const RENEW_MS = 3_600_000;
/** A key that was replaced is thrown away when nothing came under it for so long. */
const UNUSED_MS = 10_000;
/** Kept at once: both ends may begin to renew, and two fleet keys may be known. */
const EPOCHS_MAX = 4;

export interface Epoch {
  /** Stands in clear before what it seals. */
  readonly id: number;
  readonly ephemeral: Uint8Array;
  readonly remote: Uint8Array;
  readonly fleetId: number;
  readonly sealKey: Uint8Array;
  readonly openKey: Uint8Array;
  /** 32 bytes that only these two nodes know, the same at both. */
  readonly pairSecret: Uint8Array;
  readonly window: CounterWindow;
  /** The peer has shown that it has this key. */
  isProven: boolean;
  heardMs: number;
}

export interface EndOfLink {
  readonly node: number;
  readonly bootId: Uint8Array;
  readonly ephemeral: Uint8Array;
}

export class Epochs {
  /** Newest first. */
  #epochs: Epoch[] = [];
  #pairSecrets: readonly Uint8Array[] = [];

  has(ephemeral: Uint8Array, remote: Uint8Array, fleetId: number): boolean {
    return this.#epochs.some(
      (epoch) =>
        epoch.fleetId === fleetId && equalBytes(epoch.ephemeral, ephemeral) && equalBytes(epoch.remote, remote),
    );
  }

  /**
   * The keys of an agreement. False: the peer's ephemeral key is none. The first ones are used at once, since there are no
   * others; later ones when the peer has shown that it has them.
   */
  add(
    ms: number,
    own: EndOfLink & { readonly pair: KeyPair },
    peer: EndOfLink,
    fleet: { readonly id: number; readonly key: Uint8Array },
  ): boolean {
    if (this.has(own.ephemeral, peer.ephemeral, fleet.id)) return true;
    const shared = own.pair.shared(peer.ephemeral);
    if (shared === undefined) return false;
    const secret = hmac(fleet.key, shared);
    const [low, high] = own.node < peer.node ? [own, peer] : [peer, own];
    const both = contextOf(low, high);
    const id = expand(secret, "link id", both);
    this.#epochs.unshift({
      id: (id[0] << 8) | id[1],
      ephemeral: own.ephemeral,
      remote: peer.ephemeral.slice(),
      fleetId: fleet.id,
      sealKey: expand(secret, "link", contextOf(own, peer)),
      openKey: expand(secret, "link", contextOf(peer, own)),
      pairSecret: expand(secret, "link pair", both),
      window: new CounterWindow(),
      isProven: this.#epochs.length === 0,
      heardMs: ms,
    });
    this.#epochs.length = Math.min(this.#epochs.length, EPOCHS_MAX);
    return true;
  }

  /** The one to seal with. */
  get sealing(): Epoch {
    return this.#epochs.find(({ isProven }) => isProven) ?? this.#epochs[0];
  }

  /** The newest one, while the peer has not shown that it has it. */
  get unproven(): Epoch | undefined {
    return this.#epochs[0].isProven ? undefined : this.#epochs[0];
  }

  /** Those that may have sealed what says this id; mostly one. */
  withId(id: number): Epoch[] {
    return this.#epochs.filter((epoch) => epoch.id === id);
  }

  heard(ms: number, epoch: Epoch): void {
    epoch.isProven = true;
    epoch.heardMs = ms;
  }

  /** Throws away what is not used any more. */
  sweep(ms: number): void {
    if (this.#epochs.length === 1) return;
    const { sealing } = this;
    this.#epochs = this.#epochs.filter((epoch) => epoch === sealing || ms - epoch.heardMs < UNUSED_MS);
  }

  /** Of all keys that are kept, the one to seal with first. The same array until another one is kept or comes first. */
  get pairSecrets(): readonly Uint8Array[] {
    const { sealing } = this;
    const secrets = [sealing, ...this.#epochs.filter((epoch) => epoch !== sealing)].map((epoch) => epoch.pairSecret);
    const before = this.#pairSecrets;
    const isSame = secrets.length === before.length && secrets.every((secret, at) => secret === before[at]);
    if (!isSame) this.#pairSecrets = secrets;
    return this.#pairSecrets;
  }
}

function contextOf(from: EndOfLink, to: EndOfLink): Uint8Array {
  const writer = new Writer(4 + 2 * BOOT_ID_LEN + 64).u16(from.node).u16(to.node).raw(from.bootId).raw(to.bootId);
  return writer.raw(from.ephemeral).raw(to.ephemeral).done();
}
