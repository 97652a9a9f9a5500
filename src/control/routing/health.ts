/**
 * Self-test of the data path: a small control datagram to each service address, which the kernel, a shard, the control
 * ring, this thread, the shard again and the kernel must carry there and back. Its format is in docs/PROTOCOL.md,
 * "SELF_TEST"; it never leaves the machine. Sans-IO: time is an argument, datagrams are outputs.
 *
 * A flood must not make node after node withdraw: a probe that is lost while the shard is at work on many packets says
 * nothing (crowded), neither good nor bad.
 */
import { hmac } from "../../crypto/blake2s.ts";
import { equalBytes } from "../../crypto/kdf.ts";

/** Control types from 120 on are for use within one machine. */
const SELF_TEST = 127;
const CONTROL_MUX = 0xffff;
const PROTOCOL_VERSION = 1;
const NUMBER = 12;
const MAC = 16;
const MAC_LEN = 16;
const LENGTH = MAC + MAC_LEN;
const QUESTION = Uint8Array.of(1);
const ANSWER = Uint8Array.of(2);

export const ROUND_MS = 500;
export const TIMEOUT_MS = 400;
/** Packets that a shard handles during one time-out when it has more to do than listen to us: 50,000/s. */
const CROWDED_PACKETS = 20_000;

export interface Target {
  readonly address: string;
  readonly port: number;
}

/** What the shards have done since they began. */
export interface Work {
  /** Packets, whatever became of them. */
  readonly handled: number;
  /** Those that control could not take, because the ring was full. */
  readonly refused: number;
}

export interface SelfTestPorts {
  /** To a service address, from a socket of this thread. A failure is as good as a loss. */
  send(datagram: Uint8Array, to: Target): void;
  work(): Work;
  /** What is wrong beside the path, a sentence each. */
  faults(): readonly string[];
}

export interface Verdict {
  readonly good: boolean;
  /** A sentence when it is not. */
  readonly why: string;
}

interface Probe {
  readonly target: Target;
  readonly number: number;
  sentMs: number;
  /** NaN: no answer yet. */
  rttMs: number;
}

export class SelfTest {
  good = 0;
  bad = 0;
  crowded = 0;
  /** Of the last round. */
  faults: readonly string[] = [];
  readonly #ports: SelfTestPorts;
  readonly #secret: Uint8Array;
  #probes: readonly Probe[];
  /** Results of the last round that is over. */
  #last: readonly { readonly address: string; readonly rttMs: number }[] = [];
  #next = 0;
  #number = 0;
  #open = false;
  #before: Work = { handled: 0, refused: 0 };

  /** `secret`: random, of this start of the daemon. */
  constructor(targets: readonly Target[], secret: Uint8Array, ports: SelfTestPorts) {
    this.#ports = ports;
    this.#secret = secret;
    this.#probes = targets.map((target) => ({ target, number: -1, sentMs: 0, rttMs: Number.NaN }));
  }

  /** Addresses with the round trip of the last round in milliseconds; NaN: there was no answer. */
  results(): readonly { readonly address: string; readonly rttMs: number }[] {
    return this.#last;
  }

  /** Call several times in a time-out. Returns the verdict of a round when there is one. */
  tick(now: number): Verdict | undefined {
    const verdict = this.#open ? this.#judge(now) : undefined;
    if (!this.#open && now >= this.#next) this.#begin(now);
    return verdict;
  }

  /** A control datagram from the shard: the answer to send back, or undefined when it is no question of this node. */
  answer(datagram: Uint8Array): Uint8Array | undefined {
    const number = this.#read(datagram, QUESTION);
    return number === undefined ? undefined : this.#write(number, ANSWER);
  }

  /** A datagram at the socket that asks. */
  received(now: number, datagram: Uint8Array): void {
    const number = this.#read(datagram, ANSWER);
    const probe = this.#probes.find((one) => one.number === number);
    if (probe !== undefined && Number.isNaN(probe.rttMs)) probe.rttMs = now - probe.sentMs;
  }

  #begin(now: number): void {
    this.#next = now + ROUND_MS;
    this.#open = true;
    this.#before = this.#ports.work();
    this.#probes = this.#probes.map(({ target }) => {
      this.#number = (this.#number + 1) >>> 0;
      return { target, number: this.#number, sentMs: now, rttMs: Number.NaN };
    });
    for (const { target, number } of this.#probes) this.#ports.send(this.#write(number, QUESTION), target);
  }

  #judge(now: number): Verdict | undefined {
    const lost = this.#probes.filter(({ rttMs }) => Number.isNaN(rttMs));
    if (lost.length > 0 && now - this.#probes[0].sentMs < TIMEOUT_MS) return undefined;
    this.#open = false;
    this.#last = this.#probes.map(({ target, rttMs }) => ({ address: target.address, rttMs }));
    this.faults = this.#ports.faults();
    if (this.faults.length === 0 && lost.length > 0 && this.#isCrowded()) {
      this.crowded += 1;
      return undefined;
    }
    const silent = lost.map(({ target }) => target.address).join(", ");
    const why = [
      ...(lost.length > 0 ? [`no answer to the self-test of ${silent} within ${TIMEOUT_MS} ms`] : []),
      ...this.faults,
    ];
    const good = why.length === 0;
    if (good) this.good += 1;
    else this.bad += 1;
    return { good, why: why.join("; ") };
  }

  #isCrowded(): boolean {
    const { handled, refused } = this.#ports.work();
    return refused > this.#before.refused || handled - this.#before.handled >= CROWDED_PACKETS;
  }

  #write(number: number, direction: Uint8Array): Uint8Array {
    const datagram = new Uint8Array(LENGTH);
    const view = new DataView(datagram.buffer);
    view.setUint32(4, CONTROL_MUX);
    datagram[8] = SELF_TEST;
    datagram[9] = PROTOCOL_VERSION;
    view.setUint32(NUMBER, number);
    datagram.set(this.#mac(datagram, direction), MAC);
    return datagram;
  }

  /** The number of a probe that is under way, or undefined. */
  #read(datagram: Uint8Array, direction: Uint8Array): number | undefined {
    if (datagram.length !== LENGTH || datagram[8] !== SELF_TEST) return undefined;
    if (!equalBytes(this.#mac(datagram, direction), datagram.subarray(MAC))) return undefined;
    const number = new DataView(datagram.buffer, datagram.byteOffset).getUint32(NUMBER);
    return this.#probes.some((probe) => probe.number === number) ? number : undefined;
  }

  #mac(datagram: Uint8Array, direction: Uint8Array): Uint8Array {
    return hmac(this.#secret, direction, datagram.subarray(0, MAC)).subarray(0, MAC_LEN);
  }
}
