/**
 * Limits what one session hands to the control plane. The first packets of a session are its *own share*: other sessions can't
 * use it up, so a quiet session always gets through. Packets beyond the own share draw on a budget that all sessions have in common,
 * up to a limit for each session.
 *
 * A session has two numbers, one for each limit: the monotonic time in ms at which the limit would be unused again ("theoretical
 * arrival time" of the generic cell rate algorithm, ITU-T I.371). The arrays are large, but the system provides memory only for
 * the parts that were written, so a session that never sends a control message costs none.
 */
export const REFUSED = 0;
export const OWN_SHARE = 1;
export const COMMON = 2;

export interface SessionRates {
  /** Own share: packets at once, and packets a second from then on. */
  readonly ownBurst: number;
  readonly ownPerSecond: number;
  /** The most of one session, own share and common budget together. */
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

  /** Counts one more packet of the session in `row`. Returns what it is charged to: OWN_SHARE, COMMON, or REFUSED. */
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
