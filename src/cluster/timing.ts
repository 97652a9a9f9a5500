/**
 * Round trip and clock of a peer, from 14 bytes in every datagram of the link: when it was sent, the newest such time of
 * the other end brought forward by how long it lay there, and the wall clock.
 */
import type { Reader, Writer } from "./bytes.ts";
import type { Now } from "./now.ts";

export const TIMING_LEN = 14;
/** Clocks that are further apart than this are named in status. */
export const CLOCK_LIMIT_MS = 5000;
/** The clock is read off the datagram with the shortest round trip of this time. */
const CLOCK_SAMPLE_MS = 10_000;
/** A datagram with a longer round trip is not believed. */
export const LATE_MS = 1000;

/** Microseconds modulo 2^32; 0 means none. */
const stampOf = (ms: number): number => Math.floor((ms * 1000) % 2 ** 32) || 1;

export class PeerTiming {
  /** Smoothed by 1/8 (RFC 6298 section 2). */
  rttMs: number | undefined;
  /** Wall clock of the peer minus ours. */
  clockOffsetMs: number | undefined;
  #stamp = 0;
  #stampAtMs = 0;
  #bestRttMs = 0;
  #bestAtMs = Number.NEGATIVE_INFINITY;

  get clockApart(): boolean {
    return Math.abs(this.clockOffsetMs ?? 0) > CLOCK_LIMIT_MS;
  }

  write(now: Now, writer: Writer): void {
    const lay = Math.round((now.ms - this.#stampAtMs) * 1000);
    const echo = this.#stamp === 0 ? 0 : (this.#stamp + lay) % 2 ** 32 || 1;
    writer
      .u32(stampOf(now.ms))
      .u32(echo)
      .u48(Math.min(2 ** 48 - 1, Math.max(0, Math.floor(now.wallMs))));
  }

  /**
   * Of an authentic datagram that was not seen before. False: it was under way for longer than LATE_MS, so it says
   * nothing of now, and somebody may have held it back.
   */
  read(now: Now, reader: Reader): boolean {
    const [stamp, echo, wallMs] = [reader.u32(), reader.u32(), reader.u48()];
    // Rounding may make a short round trip negative.
    const rttMs = Math.max(0, (stampOf(now.ms) - echo) | 0) / 1000;
    if (echo !== 0 && rttMs > LATE_MS) return false;
    this.#stamp = stamp;
    this.#stampAtMs = now.ms;
    if (echo === 0) return true;
    this.#measure(now, rttMs, wallMs);
    return true;
  }

  #measure(now: Now, rttMs: number, wallMs: number): void {
    this.rttMs = this.rttMs === undefined ? rttMs : this.rttMs + (rttMs - this.rttMs) / 8;
    if (rttMs > this.#bestRttMs && now.ms - this.#bestAtMs < CLOCK_SAMPLE_MS) return;
    this.#bestRttMs = rttMs;
    this.#bestAtMs = now.ms;
    this.clockOffsetMs = wallMs + rttMs / 2 - now.wallMs;
  }
}
