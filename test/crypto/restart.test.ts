/**
 * Restarted peers against a receiver with a window: they come back, and an attacker who recorded everything cannot use
 * the same door, except where docs/PROTOCOL.md says so. The receiver here runs the documented order of steps.
 */
import { describe, expect, test } from "vitest";
import { FRESH, ReplayTable } from "../../src/crypto/replay.ts";
import {
  fingerprintHi,
  fingerprintLo,
  RESTART_EPOCHS,
  RESTART_TRIES_PER_SECOND,
  RestartTable,
} from "../../src/crypto/restart.ts";
import { openSatp, readHeader, satpKeyFromPassphrase, sealSatp } from "../../src/crypto/satp.ts";

const WINDOW = 64;
const auth = { cipherLen: 16, tagLen: 10, kdLen: 16 } as const;
const peer = satpKeyFromPassphrase("ferry", { ...auth, role: 1 });
const own = satpKeyFromPassphrase("ferry", { ...auth, role: 0 });

/** A datagram of the peer; `text` tells two lives of it apart. */
const packet = (seq: number, text: string, context = peer) =>
  sealSatp(context, { seq, senderId: 3, mux: 0 }, 0x0800, new TextEncoder().encode(text));

class Receiver {
  now = 0;
  authenticated = 0;
  readonly #context;
  readonly #replay = new ReplayTable({ slots: 4, sendersPerTunnel: 4, bits: WINDOW });
  readonly #restart;

  constructor(options: { quietMs?: number } = {}, context = own) {
    this.#context = context;
    this.#restart = new RestartTable({ slots: 4, ...options });
  }

  /** Whether the datagram was accepted. */
  receive(datagram: Uint8Array): boolean {
    const { seq, senderId } = readHeader(datagram);
    let slot = this.#replay.find(0, senderId);
    const refused = slot >= 0 && this.#replay.check(slot, seq, WINDOW) !== FRESH;
    if (refused && !this.#restart.mayBeRestart(slot, seq, this.now)) return false;
    const hi = fingerprintHi(datagram, 0, datagram.length);
    const lo = fingerprintLo(datagram, 0, datagram.length);
    this.authenticated++;
    if (openSatp(this.#context, datagram, readHeader(datagram)).result !== "opened") return false;
    if (slot < 0) {
      slot = this.#replay.create(0, senderId);
      this.#restart.open(slot);
    }
    if (refused) {
      if (!this.#restart.confirm(slot, seq, hi, lo, this.now, this.#context.tagLen > 0)) return false;
      this.#replay.reset(slot, seq);
    } else {
      if (!this.#restart.remember(slot, seq, hi, lo)) return false;
      this.#replay.commit(slot, seq, WINDOW);
    }
    this.#restart.accepted(slot, this.now);
    return true;
  }

  /** Receives a whole life of the peer from 0 to `count`, one packet a millisecond, and returns what was sent. */
  live(name: string, count: number): Uint8Array[] {
    const sent = Array.from({ length: count }, (_, seq) => packet(seq, `${name} ${seq}`));
    for (const datagram of sent) {
      this.now++;
      expect(this.receive(datagram)).toBe(true);
    }
    return sent;
  }
}

describe("a peer that restarts at 0", () => {
  test("is heard again with its first packet", () => {
    const receiver = new Receiver();
    receiver.live("one", 500);
    receiver.now += 1000;
    receiver.live("two", 500);
  });

  test("may lose its first packets, and late ones of the zone still count once", () => {
    const receiver = new Receiver();
    receiver.live("one", 500);
    receiver.now += 1000;
    expect(receiver.receive(packet(5, "two"))).toBe(true);
    expect(receiver.receive(packet(3, "two"))).toBe(true);
    expect(receiver.receive(packet(3, "two"))).toBe(false);
    expect(receiver.receive(packet(64, "two"))).toBe(true);
  });

  test("restarts more often than fingerprints are kept", () => {
    const receiver = new Receiver();
    for (let life = 0; life < RESTART_EPOCHS + 3; life++) {
      receiver.live(`life ${life}`, 200);
      receiver.now += 1000;
    }
  });

  test("is not believed while its old life is still heard", () => {
    const receiver = new Receiver();
    receiver.live("one", 500);
    receiver.now += 100;
    expect(receiver.receive(packet(0, "two"))).toBe(false);
  });

  test("that lost its whole zone waits for the silence rule", () => {
    const receiver = new Receiver({ quietMs: 30_000 });
    receiver.live("one", 500);
    receiver.now += 29_999;
    expect(receiver.receive(packet(100, "two"))).toBe(false);
    receiver.now += 1;
    expect(receiver.receive(packet(101, "two"))).toBe(true);
    expect(receiver.receive(packet(102, "two"))).toBe(true);
  });

  test("that lost its whole zone stays out when the silence rule is off", () => {
    const receiver = new Receiver({ quietMs: 0 });
    receiver.live("one", 500);
    receiver.now += 1e9;
    expect(receiver.receive(packet(100, "two"))).toBe(false);
    expect(receiver.receive(packet(10, "two"))).toBe(true);
  });
});

describe("an attacker with every datagram ever sent", () => {
  test("replays no packet of the zone, at any time, from any remembered life", () => {
    const receiver = new Receiver();
    const lives = Array.from({ length: RESTART_EPOCHS }, (_, life) => {
      receiver.now += 1000;
      return receiver.live(`life ${life}`, 300);
    });
    for (const pause of [0, 199, 200, 1000, 60_000]) {
      receiver.now += pause;
      for (const life of lives)
        for (const datagram of life.slice(0, 64)) expect(receiver.receive(datagram)).toBe(false);
    }
  });

  test("replays no packet of an older zone into a newer one", () => {
    const receiver = new Receiver();
    const old = receiver.live("one", 300);
    receiver.now += 1000;
    expect(receiver.receive(packet(2, "two"))).toBe(true);
    for (const datagram of old.slice(0, 64)) expect(receiver.receive(datagram)).toBe(false);
    expect(receiver.receive(packet(3, "two"))).toBe(true);
  });

  test("replays nothing above the zone before the silence rule", () => {
    const receiver = new Receiver();
    const sent = receiver.live("one", 300);
    receiver.now += 29_000;
    for (const datagram of sent) expect(receiver.receive(datagram)).toBe(false);
  });

  test("can play a packet of the zone that was held back, but only once (documented exposure)", () => {
    const receiver = new Receiver();
    const held = packet(7, "one, held back");
    for (let seq = 0; seq < 300; seq++) if (seq !== 7) receiver.receive(packet(seq, "one"));
    receiver.now += 1000;
    expect(receiver.receive(held)).toBe(true);
    expect(receiver.receive(packet(300, "one"))).toBe(true);
    receiver.now += 1000;
    expect(receiver.receive(held)).toBe(false);
  });

  test("cannot make the receiver authenticate more than the budget", () => {
    const receiver = new Receiver();
    const sent = receiver.live("one", 300);
    receiver.now += 1000;
    const before = receiver.authenticated;
    for (let round = 0; round < 20; round++) for (const datagram of sent.slice(0, 64)) receiver.receive(datagram);
    expect(receiver.authenticated - before).toBe(RESTART_TRIES_PER_SECOND);
    receiver.now += 1000;
    expect(receiver.receive(packet(0, "two"))).toBe(true);
  });

  test("cannot forge a restart", () => {
    const receiver = new Receiver();
    receiver.live("one", 300);
    receiver.now += 60_000;
    const forged = packet(0, "two");
    forged[12] ^= 1;
    expect(receiver.receive(forged)).toBe(false);
    expect(receiver.receive(packet(300, "one"))).toBe(true);
  });
});

test("without a tag only silence counts", () => {
  const open = { cipherLen: 0, tagLen: -1, kdLen: 0 } as const;
  const from = satpKeyFromPassphrase("", { ...open, role: 1 });
  const receiver = new Receiver({}, satpKeyFromPassphrase("", { ...open, role: 0 }));
  for (let seq = 0; seq < 300; seq++) expect(receiver.receive(packet(seq, "one", from))).toBe(true);
  receiver.now += 29_999;
  expect(receiver.receive(packet(0, "two", from))).toBe(false);
  receiver.now += 1;
  expect(receiver.receive(packet(1, "two", from))).toBe(true);
});

test("a slot that changes hands keeps nothing of its former owner", () => {
  const restart = new RestartTable({ slots: 1 });
  restart.open(0);
  expect(restart.remember(0, 4, 11, 22)).toBe(true);
  expect(restart.remember(0, 4, 11, 22)).toBe(false);
  expect(restart.remember(0, 4, 11, 23)).toBe(true);
  expect(restart.remember(0, 5, 11, 22)).toBe(true);
  restart.open(0);
  expect(restart.remember(0, 4, 11, 22)).toBe(true);
});

test("fingerprints notice every flipped bit", () => {
  const datagram = packet(9, "hello");
  const hi = fingerprintHi(datagram, 0, datagram.length);
  const lo = fingerprintLo(datagram, 0, datagram.length);
  for (let bit = 0; bit < datagram.length * 8; bit++) {
    datagram[bit >> 3] ^= 1 << (bit & 7);
    expect(fingerprintHi(datagram, 0, datagram.length), `bit ${bit}`).not.toBe(hi);
    expect(fingerprintLo(datagram, 0, datagram.length), `bit ${bit}`).not.toBe(lo);
    datagram[bit >> 3] ^= 1 << (bit & 7);
  }
});
