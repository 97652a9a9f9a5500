/** Packets for the tests of wire/, made byte by byte from the RFCs without the code under test. */

/** A view of bytes written as hex; blanks do not count. */
export function bytes(hex: string): DataView {
  return new DataView(Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ""), "hex")).buffer);
}

export function hex(view: DataView, at = 0, end = view.byteLength): string {
  return Buffer.from(view.buffer, view.byteOffset + at, end - at).toString("hex");
}

/** One's complement sum of 16-bit words as in RFC 1071 section 1, the slow way. 0xffff = intact. */
export function onesSum(octets: readonly number[]): number {
  let total = 0;
  for (let i = 0; i < octets.length; i += 2) {
    total += octets[i] * 256 + (octets[i + 1] ?? 0);
    if (total > 0xffff) total -= 0xffff;
  }
  return total;
}

export function octets(view: DataView, at: number, end: number): number[] {
  return [...new Uint8Array(view.buffer, view.byteOffset + at, end - at)];
}

export interface Fields4 {
  readonly protocol?: number;
  readonly src?: string;
  readonly dst?: string;
  /** Word with flags and fragment offset. */
  readonly fragment?: number;
  /** Options, a multiple of 4 bytes. */
  readonly options?: readonly number[];
  readonly payload?: readonly number[];
}

const quad = (text: string) => text.split(".").map(Number);

/** IPv4 packet with a right checksum. */
export function packet4(f: Fields4 = {}): number[] {
  const { options = [], payload = [], fragment = 0x4000 } = f;
  const ihl = 5 + options.length / 4;
  const total = 4 * ihl + payload.length;
  const header = [0x40 | ihl, 0, total >> 8, total & 255, 0x12, 0x34, fragment >> 8, fragment & 255, 64];
  header.push(f.protocol ?? 17, 0, 0, ...quad(f.src ?? "192.0.2.1"), ...quad(f.dst ?? "198.51.100.2"), ...options);
  const checksum = ~onesSum(header) & 0xffff;
  header[10] = checksum >> 8;
  header[11] = checksum & 255;
  return [...header, ...payload];
}

export interface Fields6 {
  readonly next?: number;
  readonly src?: readonly number[];
  readonly dst?: readonly number[];
  readonly payload?: readonly number[];
}

/** 16 bytes of 2001:db8::`last`. */
export const doc6 = (last: number): number[] => [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];

export function packet6(f: Fields6 = {}): number[] {
  const { payload = [] } = f;
  const header = [0x60, 0, 0, 0, payload.length >> 8, payload.length & 255, f.next ?? 17, 64];
  return [...header, ...(f.src ?? doc6(1)), ...(f.dst ?? doc6(2)), ...payload];
}

/** A view of 4096 bytes of 0xa5 with the packet at `at`. */
export function slab(packet: readonly number[], at: number): DataView {
  const memory = new Uint8Array(4096).fill(0xa5);
  memory.set(packet, at);
  return new DataView(memory.buffer);
}
