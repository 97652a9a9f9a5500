/** Building output rows and reading input rows, for the contract of `PacketIo` and its native extras. */
import { parseAddress } from "../../src/base/ip.ts";
import type { Memory } from "../../src/dataplane/batch.ts";
import { OUT_BASE, SLOT_BYTES } from "../../src/dataplane/layout.ts";
import { LIVE } from "../../src/dataplane/verdict.ts";

export interface Outgoing {
  readonly sock: number;
  readonly to: string;
  readonly port: number;
  /** Bytes of the payload, or only its length. */
  readonly payload: Uint8Array | number;
  readonly tos?: number;
  readonly flags?: number;
  /** Bytes of each datagram; without it the row is one. */
  readonly seg?: number;
}

/** Writes output row `i`; a payload longer than a slot runs into the slots behind it. */
export function putRow(memory: Memory, i: number, row: Outgoing): void {
  const { output, slab } = memory;
  const a = parseAddress(row.to)!;
  output.at[i] = OUT_BASE + i * SLOT_BYTES;
  if (typeof row.payload !== "number") slab.set(row.payload, output.at[i]);
  output.len[i] = typeof row.payload === "number" ? row.payload : row.payload.length;
  output.verdict[i] = LIVE;
  output.sock[i] = row.sock;
  output.addr0[i] = a.w0;
  output.addr1[i] = a.w1;
  output.addr2[i] = a.w2;
  output.addr3[i] = a.w3;
  output.port[i] = row.port;
  output.tos[i] = row.tos ?? 0;
  output.flags[i] = row.flags ?? 0;
  output.seg[i] = row.seg ?? 0;
}

/** One input row, copied. */
export interface Incoming {
  readonly at: number;
  readonly len: number;
  readonly verdict: number;
  readonly tunnel: number;
  readonly sock: number;
  readonly from: readonly number[];
  readonly port: number;
  readonly tos: number;
  readonly flags: number;
  readonly seg: number;
  readonly hdr: number;
  readonly bytes: Uint8Array;
}

export function getRow(memory: Memory, i: number): Incoming {
  const { input, slab } = memory;
  return {
    at: input.at[i],
    len: input.len[i],
    verdict: input.verdict[i],
    tunnel: input.tunnel[i],
    sock: input.sock[i],
    from: [input.addr0[i], input.addr1[i], input.addr2[i], input.addr3[i]],
    port: input.port[i],
    tos: input.tos[i],
    flags: input.flags[i],
    seg: input.seg[i],
    hdr: input.hdr[i],
    bytes: slab.slice(input.at[i], input.at[i] + input.len[i]),
  };
}

/** The four words of an address, as rows carry them. */
export function words(text: string): readonly number[] {
  const a = parseAddress(text)!;
  return [a.w0, a.w1, a.w2, a.w3];
}

/** Fills every column of both batches, and the input slots, with a pattern that no driver writes. */
export function soil(memory: Memory): void {
  memory.input.columns.fill(0x5a5a5a5a);
  memory.output.columns.fill(0x5a5a5a5a);
  memory.slab.fill(0xa5, 0, OUT_BASE);
}

/** An IPv4 packet (RFC 791) with UDP (RFC 768; checksum 0 = none) around a payload. */
export function ipv4Udp(source: string, target: string, port: number, payload: Uint8Array): Uint8Array {
  const packet = new Uint8Array(28 + payload.length);
  const view = new DataView(packet.buffer);
  view.setUint8(0, 0x45);
  view.setUint16(2, packet.length);
  view.setUint8(8, 64);
  view.setUint8(9, 17);
  view.setInt32(12, parseAddress(source)!.w3);
  view.setInt32(16, parseAddress(target)!.w3);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += view.getUint16(at);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(10, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
  view.setUint16(20, port);
  view.setUint16(22, port);
  view.setUint16(24, 8 + payload.length);
  packet.set(payload, 28);
  return packet;
}
