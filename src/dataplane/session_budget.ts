/**
 * What one session may hand to the control plane, before what all sessions share is asked. The first packets of a session are
 * its *own share*: they are counted against a budget that no other session can use up by being loud, so a quiet session gets
 * through whatever the others do. What is beyond draws on the common budget, up to a limit for each session.
 *
 * Two numbers a session, both monotonic ms ("theoretical arrival time" of the generic cell rate algorithm, ITU-T I.371): the
 * time at which the allowance would be whole again. Memory of a session that never asks stays the system's.
 */
export const REFUSED = 0;
export const OWN_SHARE = 1;
export const COMMON = 2;

export interface SessionRates {
  /** Own share: so many at once, and so many a second from then on. */
  readonly ownBurst: number;
  readonly ownPerSecond: number;
  /** Own share and common budget together. */
  readonly mostBurst: number;
  readonly mostPerSecond: number;
}

export class SessionBudget {
  private readonly ownAt: Float64Array;
  private readonly mostAt: Float64Array;
  private readonly ownMs: number;
  private readonly ownRoomMs: number;
  private readonly mostMs: number;
  private readonly mostRoomMs: number;

  /** `rows`: of the tunnel table. */
  constructor(rows: number, rates: SessionRates) {
    this.ownAt = new Float64Array(rows);
    this.mostAt = new Float64Array(rows);
    this.ownMs = 1000 / rates.ownPerSecond;
    this.ownRoomMs = rates.ownBurst * this.ownMs;
    this.mostMs = 1000 / rates.mostPerSecond;
    this.mostRoomMs = rates.mostBurst * this.mostMs;
  }

  /** One more of `row`: from its own share, from the common budget, or refused. */
  take(row: number, now: number): number {
    const most = Math.max(this.mostAt[row], now) + this.mostMs;
    if (most > now + this.mostRoomMs) return REFUSED;
    this.mostAt[row] = most;
    const own = Math.max(this.ownAt[row], now) + this.ownMs;
    if (own > now + this.ownRoomMs) return COMMON;
    this.ownAt[row] = own;
    return OWN_SHARE;
  }
}
