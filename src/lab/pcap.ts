/**
 * Reads what `tcpdump -w -` writes, as bytes come in: little-endian pcap with times in nanoseconds and link type
 * LINUX_SLL2 (draft-ietf-opsawg-pcap; www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html). Pure.
 */
const MAGIC_NANO_LE = 0xa1b23c4d;
const FILE_HEADER_LEN = 24;
const RECORD_HEADER_LEN = 16;
const LINKTYPE = 20;
const LINUX_SLL2 = 276;
const SLL2_LEN = 20;
const SLL2_IFINDEX = 4;
const SLL2_TYPE = 10;
/** Packet type of what this host sent. */
const OUTGOING = 4;
const UDP = 17;
const UDP_LEN = 8;
/** More than any snapshot length in use; a longer record means that the stream is not what it should be. */
const RECORD_MAX = 1 << 18;

/** One captured UDP datagram. Valid during the call only. */
export interface Captured {
  /** Wall clock in milliseconds. */
  atMs: number;
  ifindex: number;
  outgoing: boolean;
  family: 4 | 6;
  bytes: Buffer;
  /** Offset of the source address, 4 or 16 bytes long. */
  sourceAt: number;
  destinationPort: number;
  /** UDP payload: as far as it was captured. */
  payloadAt: number;
  payloadEnd: number;
}

export class PcapReader {
  readonly #take: (captured: Captured) => void;
  #rest: Buffer = Buffer.alloc(0);
  #begun = false;

  constructor(take: (captured: Captured) => void) {
    this.#take = take;
  }

  /** Throws Error when it is no capture of the kind above. */
  push(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    if (!this.#begun) {
      if (bytes.length < FILE_HEADER_LEN) {
        this.#rest = bytes;
        return;
      }
      if (bytes.readUInt32LE(0) !== MAGIC_NANO_LE || bytes.readUInt32LE(LINKTYPE) !== LINUX_SLL2)
        throw new Error("tcpdump gives another format than it was asked for");
      this.#begun = true;
      at = FILE_HEADER_LEN;
    }
    while (bytes.length - at >= RECORD_HEADER_LEN) {
      const length = bytes.readUInt32LE(at + 8);
      if (length > RECORD_MAX) throw new Error("tcpdump's output is damaged");
      const start = at + RECORD_HEADER_LEN;
      if (bytes.length < start + length) break;
      const atMs = bytes.readUInt32LE(at) * 1000 + bytes.readUInt32LE(at + 4) / 1e6;
      const captured = parse(bytes, start, start + length, atMs);
      if (captured !== undefined) this.#take(captured);
      at = start + length;
    }
    this.#rest = bytes.subarray(at);
  }
}

/** undefined: no UDP datagram, or one with IPv6 extension headers or in fragments. */
function parse(bytes: Buffer, at: number, end: number, atMs: number): Captured | undefined {
  const ip = at + SLL2_LEN;
  if (end < ip + 20) return undefined;
  const family = bytes[ip]! >> 4 === 4 ? 4 : 6;
  const headerLen = family === 4 ? (bytes[ip]! & 15) * 4 : 40;
  const protocol = bytes[ip + (family === 4 ? 9 : 6)];
  const fragment = family === 4 && (bytes.readUInt16BE(ip + 6) & 0x1fff) !== 0;
  const udp = ip + headerLen;
  if (protocol !== UDP || fragment || end < udp + UDP_LEN) return undefined;
  return {
    ...{ atMs, ifindex: bytes.readUInt32BE(at + SLL2_IFINDEX), outgoing: bytes[at + SLL2_TYPE] === OUTGOING },
    ...{ family, bytes, sourceAt: ip + (family === 4 ? 12 : 8), destinationPort: bytes.readUInt16BE(udp + 2) },
    ...{ payloadAt: udp + UDP_LEN, payloadEnd: end },
  };
}
