/** Time as a value. Only drivers and the daemon read real clocks; everyone else receives one of these or a `now`. */
export interface Clock {
  /** Monotonic milliseconds; the zero point means nothing. */
  monotonicMs(): number;
  /** Milliseconds since 1970. For people and files, never for intervals. */
  wallMs(): number;
}
