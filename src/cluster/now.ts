/** The time that every state machine of this folder is handed: nothing here reads a clock. */
export interface Now {
  /** Monotonic milliseconds, with fractions where the clock has them: intervals and timers. */
  readonly ms: number;
  /** Milliseconds since 1970: expiry, versions. May jump. */
  readonly wallMs: number;
}
