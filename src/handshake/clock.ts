/** The time that every state machine of this folder is handed: nothing here reads a clock. */
export interface Now {
  /** Monotonic milliseconds: intervals and timers. */
  readonly ms: number;
  /** Milliseconds since 1970: timestamps in messages, expiry of tickets, cookie slots. May jump. */
  readonly wallMs: number;
}
