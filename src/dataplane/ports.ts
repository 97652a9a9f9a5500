/**
 * What the data plane needs from outside, each with a native driver (`drivers/native.ts`) and an in-memory twin
 * (`drivers/memory_io.ts`, `drivers/twin_crypto.ts`). Hot calls carry small integers and return a count or a negative errno; rows are in the batches
 * of the bound `Memory`. Nothing here allocates, throws or calls back.
 */

/** Parameters of one SATP context (facts: docs/PROTOCOL.md, "Classic tunnel"). Key lengths in bytes, 0 = null. */
export interface SatpKey {
  readonly cipherLen: 0 | 16 | 24 | 32;
  /** 0-20, or AUTH_NULL (-1) for no authentication. */
  readonly tagLen: number;
  readonly kdLen: 0 | 16 | 24 | 32;
  /** ROLE_LEFT or ROLE_RIGHT: the role of this end. */
  readonly role: number;
  /** kdLen bytes (empty for kd null). */
  readonly masterKey: Uint8Array;
  /** 14 bytes (empty for kd null). */
  readonly masterSalt: Uint8Array;
}

/** Keys of one session (docs/PROTOCOL.md, "Session datagrams"). */
export interface AeadKey {
  /** ALG_AES_128_GCM, ALG_AES_256_GCM or ALG_CHACHA20_POLY1305. */
  readonly algorithm: number;
  /** 16 or 32 bytes, as the algorithm says: of what this end sends, and of what the other end sends. Never equal. */
  readonly sealKey: Uint8Array;
  readonly openKey: Uint8Array;
}

/**
 * Opens input rows and seals output rows, in batches. No datagram of a batch may overlap another one, or a SRC: rows are
 * not worked off in order.
 */
export interface PacketCrypto {
  /** Puts a context into a slot, replacing what was there. Returns 0 or -errno. */
  setSatp(slot: number, key: SatpKey): number;
  /** The same for a session. Its datagrams open and seal like those of SATP, with a tag of 16 bytes. */
  setAead(slot: number, key: AeadKey): number;
  /** Wipes a slot. */
  clear(slot: number): void;
  /**
   * Input rows [0, n) with verdict LIVE: authenticates the datagram at AT/LEN with context KEY, decrypts in place, sets
   * TYPE, AT and LEN to the inner packet; an empty packet gets TYPE -1 and LEN 0. SEQ, SENDER, MUX are read from the
   * columns, not from the datagram. Refused: DATAGRAM_SHORT or AUTH_FAILED, datagram bytes unchanged. Rows with verdict
   * FOREIGN, sessions only, are authenticated and nothing else: FOREIGN still, or refused.
   */
  open(n: number): void;
  /**
   * Output rows [0, n) with verdict LIVE: seals LEN bytes at SRC as TYPE (-1: empty packet) into AT and sets LEN to the
   * datagram's length. A row with SEG > 0 is a super-packet: each segment becomes a datagram, with the sequence numbers
   * from SEQ on; they lie one after the other at AT, SEG becomes the length of each, LEN that of all. SRC bytes are not
   * changed, so several rows may seal one packet.
   */
  seal(n: number): void;
  /**
   * Why input row `i` failed to open: AUTH_EQUAL_ROLES, AUTH_TAG_LENGTH or AUTH_FAILED (the only one for a session).
   * Slow: the caller limits it.
   */
  diagnose(i: number): number;
}

/** One offload of the kernel, as `status` shows it. */
export interface Offload {
  readonly name: string;
  readonly on: boolean;
  /** What it does when it is on, why it is off otherwise; a sentence. */
  readonly why: string;
}

/** Sockets and the device. Socket and device handles are made by the driver before the loop starts. */
export interface PacketIo {
  /** Waits until something is ready or `timeoutMs` passed (-1: for ever). Returns READY_* bits. */
  poll(timeoutMs: number): number;
  /** Monotonic milliseconds, fresh as of the last `poll`. */
  now(): number;
  /** Fills input rows [0, n) from a socket; verdict LIVE or DATAGRAM_OVERSIZE. Returns n, 0 = nothing there, or -errno. */
  receive(sock: number, max: number): number;
  /**
   * Sends output rows [0, n) with verdict LIVE, of each row the datagrams of SEG bytes (SEG <= 0: one); sets SENT,
   * SEND_FAILED, SEND_UNREACHABLE or SEND_TOO_BIG. A row that is not SENT has sent DONE of its datagrams all the same.
   */
  send(n: number): void;
  /**
   * Fills input rows [0, n) from the device: AT, LEN, TUNNEL -1, verdict LIVE or INNER_MALFORMED; SEG and HDR of a
   * super-packet, else 0. Returns n, 0 = nothing there, or -errno.
   */
  readDevice(max: number): number;
  /**
   * Writes input rows [0, n) with verdict TO_DEVICE, in order within a flow; changes the verdict on failure to DEVICE_*.
   * May hand neighbours of one flow over as a super-packet.
   */
  writeDevice(n: number): void;
  /** Path MTU in bytes (outer IP packet) to the remote of output row `i`, or -errno. Slow. */
  pathMtu(i: number): number;
}
