/**
 * A SATP peer in the hands of a test: it seals what it is told to, right or wrong, and opens what the daemon answers.
 * Built on the TypeScript twin of the transforms, so that it can make datagrams that no honest program makes.
 */

import { type Namespace, OUTER, sleep } from "../../src/bench/netns.ts";
import { openSatp, readHeader, type SatpContext, satpKeyFromPassphrase, sealSatp } from "../../src/crypto/satp.ts";
import { INNER, PORT } from "../interop/tunnel.ts";
import { NetnsSocket } from "../interop/wire.ts";

export const TYPE_IPV4 = 0x0800;
export const TYPE_IPV6 = 0x86dd;

const RIGHT = 1;

/** The context of an end with the harness's default settings. */
export function contextOf(passphrase: string, change: Partial<SatpContext> = {}): SatpContext {
  return { ...satpKeyFromPassphrase(passphrase, { cipherLen: 16, tagLen: 10, kdLen: 16, role: RIGHT }), ...change };
}

/** Internet checksum (RFC 1071) of bytes [from, to), which must be an even count. */
function checksum(bytes: Uint8Array, from: number, to: number): number {
  let sum = 0;
  for (let i = from; i < to; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const words4 = (text: string): number[] => text.split(".").map(Number);

/** An ICMP echo request (RFC 792) in IPv4 with `length` bytes altogether: even, at least 28. */
export function echoRequest(id: number, length = 64, source: string = INNER.right.v4): Uint8Array {
  const packet = new Uint8Array(length);
  const view = new DataView(packet.buffer);
  packet.set([0x45, 0]);
  view.setUint16(2, length);
  packet.set([64, 1], 8);
  packet.set(words4(source), 12);
  packet.set(words4(INNER.left.v4), 16);
  view.setUint16(10, checksum(packet, 0, 20));
  packet[20] = 8;
  view.setUint16(24, id);
  view.setUint16(22, checksum(packet, 20, length));
  return packet;
}

export class HandPeer {
  readonly socket: NetnsSocket;
  readonly key: SatpContext;
  senderId = 0;
  mux = 0;
  /** Next sequence number. */
  seq = 0;
  private echoId = 1;

  private constructor(socket: NetnsSocket, key: SatpContext) {
    this.socket = socket;
    this.key = key;
  }

  static async open(
    namespace: Namespace,
    key: SatpContext,
    address: string = OUTER.right.v4,
    port = PORT,
  ): Promise<HandPeer> {
    return new HandPeer(await NetnsSocket.open(namespace, address, port), key);
  }

  seal(payloadType: number, inner: Uint8Array): Uint8Array {
    const header = { seq: this.seq++, senderId: this.senderId, mux: this.mux };
    return sealSatp(this.key, header, payloadType, inner);
  }

  send(datagram: Uint8Array, address: string = OUTER.left.v4): void {
    this.socket.send(datagram, address, PORT);
  }

  /** Whether an echo request through the tunnel is answered; asks again for `timeoutMs`. */
  async echoAnswered(timeoutMs = 60_000, address: string = OUTER.left.v4): Promise<boolean> {
    const deadline = Date.now() + timeoutMs;
    const id = this.echoId++;
    while (Date.now() < deadline) {
      this.send(this.seal(TYPE_IPV4, echoRequest(id)), address);
      for (let i = 0; i < 10; i++) {
        await sleep(15);
        if (this.socket.received.splice(0).some(({ bytes }) => this.isEchoReply(bytes, id))) return true;
      }
    }
    return false;
  }

  private isEchoReply(datagram: Uint8Array, id: number): boolean {
    const opened = openSatp(this.key, datagram, readHeader(datagram));
    if (opened.result !== "opened" || opened.payloadType !== TYPE_IPV4) return false;
    const { inner } = opened;
    return inner[9] === 1 && inner[20] === 0 && ((inner[24]! << 8) | inner[25]!) === id;
  }

  close(): Promise<void> {
    return this.socket.close();
  }
}
