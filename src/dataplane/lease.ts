/**
 * Whether this node may act as the owner of sessions: words that the lifeline's thread writes and the shard reads before each
 * batch, and one that the control thread writes, so that the lifeline's thread sees whether it hangs. A thread that has not run lately could not say that this node lives, so others may have taken it for dead and its
 * sessions over. The shard that wakes up first sees that by itself. docs/PROTOCOL.md, "The fence".
 */

/** Monotonic ms of the last time that the lifeline's thread ran, modulo 2^32; 0 = it has not begun. */
const RAN = 0;
/** Number of the fence that stands, 0 = none. */
const FENCE = 1;
/** For how long that thread may not have run, ms. */
const PAUSE = 2;
/** Monotonic ms of the last time that the control thread ran, modulo 2^32; 0 = it has not begun. Its lifeline reads it. */
const CONTROL = 3;
const WORDS = 4;

/** Shared memory of these words. */
export type Lease = Int32Array<SharedArrayBuffer>;

export function createLease(pauseMs: number): Lease {
  const lease = new Int32Array(new SharedArrayBuffer(4 * WORDS));
  lease[PAUSE] = pauseMs;
  return lease;
}

/** The lifeline's thread runs. */
export function renewLease(lease: Lease, nowMs: number): void {
  Atomics.store(lease, RAN, word(nowMs) || 1);
}

/** The control thread runs. */
export function controlRan(lease: Lease, nowMs: number): void {
  Atomics.store(lease, CONTROL, word(nowMs) || 1);
}

/** For how long the control thread has not run, ms; 0 before it has begun. */
export function controlSilentMs(lease: Lease, nowMs: number): number {
  const ran = Atomics.load(lease, CONTROL);
  return ran === 0 ? 0 : Math.max(0, (word(nowMs) - ran) | 0);
}

/** From now on the shard opens nothing of its own sessions. `fence`: above 0, and greater than all before. */
export function raiseFence(lease: Lease, fence: number): void {
  Atomics.store(lease, FENCE, fence);
}

/** Fence `fence` falls; a newer one stays. */
export function lowerFence(lease: Lease, fence: number): void {
  Atomics.compareExchange(lease, FENCE, fence, 0);
}

export function isFenced(lease: Lease, nowMs: number): boolean {
  if (Atomics.load(lease, FENCE) !== 0) return true;
  const ran = Atomics.load(lease, RAN);
  return ran !== 0 && ((word(nowMs) - ran) | 0) > lease[PAUSE];
}

const word = (ms: number): number => Math.floor(ms % 2 ** 32) | 0;
