/**
 * Ten thousand clients in one process: "connect" makes a session for each by the same requests as the real client, and
 * "burst" sends one inner datagram in every session at once, again and again for those that may have been lost. Runs in
 * the stranger's namespace, whose addresses are steered together.
 */
import { createSocket, type Socket } from "node:dgram";
import { createInterface } from "node:readline";
import { fold, sum } from "../base/checksum.ts";
import { type AeadContext, sealAead } from "../crypto/aead.ts";
import { entropyOf } from "../crypto/entropy.ts";
import { ALG_AES_128_GCM } from "../dataplane/layout.ts";
import { nativePairOf } from "../drivers/native_x25519.ts";
import * as control from "../handshake/control.ts";
import { AES_128_GCM, clientKey } from "../handshake/keys.ts";
import { mac1Key, writeMac2 } from "../handshake/macs.ts";
import { groupNameBytes, INSTANCE_LEN, MODE_TUNNEL } from "../handshake/offer.ts";
import { type InitSent, makeInit, readAnswer, readCookie } from "../handshake/requests.ts";
import { MUX, TYPE_IPV4 } from "../wire/satp.ts";
import { stormAddress } from "./group_topology.ts";
import { STORM_STREAM, type StormLine, type StormOrder, stormSeed } from "./storm_format.ts";
import { STREAM_HEADER_LEN, STREAM_PORT, writeStream } from "./stream_format.ts";

const SOURCE_PORT = 4444;
const IN_FLIGHT = 64;
const PATIENCE_MS = 1000;
const TRIES = 20;
const CONNECT_MAX_MS = 25_000;
const ROUNDS = 4;
const ROUND_MS = 250;
const PSK = new Uint8Array(32);
const HEADERS_LEN = 28;
const entropy = entropyOf(nativePairOf);

interface Source {
  readonly socket: Socket;
  cookie: Uint8Array | undefined;
}

interface Client {
  readonly n: number;
  readonly source: Source;
  sent: InitSent | undefined;
  sinceMs: number;
  tries: number;
  session: { readonly key: AeadContext; readonly senderId: number; readonly mux: number; seq: number } | undefined;
}

class Storm {
  readonly #order: StormOrder;
  readonly #clients: readonly Client[];
  readonly #waiting: Client[];
  readonly #asked = new Map<number, Client>();
  readonly #groupKey: Uint8Array;
  #round = 0;

  constructor(order: StormOrder, sources: readonly Source[]) {
    this.#order = order;
    this.#groupKey = new Uint8Array(Buffer.from(order.groupKey, "base64"));
    this.#clients = Array.from({ length: order.clients }, (_, n): Client => {
      const source = sources[n % sources.length]!;
      return { n, source, sent: undefined, sinceMs: 0, tries: 0, session: undefined };
    });
    this.#waiting = [...this.#clients];
    for (const { socket } of sources) socket.on("message", (datagram) => this.#receive(datagram));
  }

  /** Until every client has a session, or time is up. */
  connect(): void {
    const end = performance.now() + CONNECT_MAX_MS;
    const timer = setInterval(() => {
      const now = performance.now();
      for (const [transaction, client] of this.#asked) {
        if (client.sinceMs + PATIENCE_MS > now) continue;
        this.#asked.delete(transaction);
        if (client.tries < TRIES) this.#waiting.push(client);
      }
      while (this.#asked.size < IN_FLIGHT && this.#waiting.length > 0) this.#ask(this.#waiting.shift()!);
      if ((this.#asked.size > 0 || this.#waiting.length > 0) && now < end) return;
      clearInterval(timer);
      say({ kind: "connected", sessions: this.#clients.filter(({ session }) => session !== undefined).length });
    }, 5);
  }

  /** One datagram in each session, ROUNDS times. */
  burst(): void {
    for (const client of this.#clients) this.#send(client, this.#round);
    this.#round++;
    if (this.#round % ROUNDS !== 0) setTimeout(() => this.burst(), ROUND_MS);
    else say({ kind: "sent" });
  }

  #ask(client: Client): void {
    const { n, source } = client;
    const seed = stormSeed(this.#order.seed, n);
    const identity = {
      ...{ own: nativePairOf(seed), groupKey: this.#groupKey, groupName: groupNameBytes(""), psk: PSK },
      mac1Key: mac1Key(this.#groupKey),
    };
    const instance = stormSeed(seed.toString("hex"), n).subarray(0, INSTANCE_LEN);
    const offer = { timestamp: Date.now(), aeads: 1 << AES_128_GCM, modes: MODE_TUNNEL, instance };
    const transaction = client.tries++ * this.#order.clients + n;
    client.sent = makeInit(identity, entropy.keyPair(), offer, transaction, n, source.cookie);
    client.sinceMs = performance.now();
    this.#asked.set(transaction, client);
    this.#out(client, client.sent!.datagram);
  }

  #receive(datagram: Buffer): void {
    if (datagram.length < control.BODY || datagram.readUInt16BE(MUX) !== control.CONTROL_MUX) return;
    const transaction = datagram.readUInt32BE(control.TRANSACTION);
    const client = this.#asked.get(transaction);
    if (client?.sent === undefined) return;
    const type = control.check(datagram);
    if (type === control.COOKIE) {
      const cookie = readCookie(client.sent, datagram);
      if (cookie === undefined) return;
      client.source.cookie = cookie;
      writeMac2(cookie, client.sent.datagram);
      this.#out(client, client.sent.datagram);
    } else if (type === control.RESPONSE) {
      const read = readAnswer(client.sent, PSK, datagram);
      if (typeof read === "string" || read.answer.kind !== "grant") return;
      const { index } = read.answer;
      const sealKey = clientKey(read.secret, AES_128_GCM);
      const key = { algorithm: ALG_AES_128_GCM, sealKey, openKey: sealKey };
      client.session = { key, senderId: index >>> 15, mux: 0x8000 | (index & control.INDEX_LOW), seq: 0 };
      this.#asked.delete(transaction);
      // The node may use it from the first packet on.
      this.#seal(client, -1, new Uint8Array(0));
    }
  }

  #send(client: Client, round: number): void {
    if (client.session === undefined) return;
    const { clients, server } = this.#order;
    this.#seal(client, TYPE_IPV4, udpPacket(stormAddress(client.n), server, round * clients + client.n));
  }

  #seal(client: Client, payloadType: number, inner: Uint8Array): void {
    const session = client.session!;
    const { key, senderId, mux } = session;
    this.#out(client, sealAead(key, { seq: session.seq++, senderId, mux }, payloadType, inner));
  }

  #out({ source }: Client, datagram: Uint8Array): void {
    source.socket.send(datagram, this.#order.port, this.#order.node, () => {});
  }
}

/** IPv4 (RFC 791) with UDP (RFC 768, without a checksum) and a stream's datagram. */
function udpPacket(source: string, destination: string, seq: number): Uint8Array {
  const packet = Buffer.alloc(HEADERS_LEN + STREAM_HEADER_LEN);
  packet.set([0x45, 0, 0, packet.length, 0, 0, 0, 0, 64, 17, 0, 0]);
  packet.set(source.split(".").map(Number), 12);
  packet.set(destination.split(".").map(Number), 16);
  packet.writeUInt16BE(fold(sum(viewOf(packet), 0, 20)), 10);
  packet.writeUInt16BE(STREAM_PORT, 20);
  packet.writeUInt16BE(STREAM_PORT, 22);
  packet.writeUInt16BE(8 + STREAM_HEADER_LEN, 24);
  writeStream(packet.subarray(HEADERS_LEN), STORM_STREAM, seq);
  return packet;
}

const viewOf = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function say(line: StormLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function openSource(address: string): Promise<Source> {
  const socket = createSocket({ type: "udp4", recvBufferSize: 1 << 20, sendBufferSize: 1 << 20 });
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(SOURCE_PORT, address, () => resolve({ socket, cookie: undefined }));
  });
}

const order = JSON.parse(process.argv[2]!) as StormOrder;
const storm = new Storm(order, await Promise.all(order.sources.map(openSource)));
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => (line === "connect" ? storm.connect() : storm.burst()));
lines.on("close", () => process.exit());
