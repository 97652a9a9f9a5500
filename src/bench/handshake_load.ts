/**
 * Many clients in one process, for the handshake part of the benchmark: each does a whole handshake (INIT, a cookie when
 * it is asked for, RESPONSE, confirm, the node's first packet) from one of many source addresses. Requests are made before
 * the clock starts, so that what is measured is the node. Runs in the namespace of the clients.
 */
import { createHash } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { sealAead } from "../crypto/aead.ts";
import { entropyOf } from "../crypto/entropy.ts";
import type { KeyPair } from "../crypto/x25519.ts";
import { ALG_AES_128_GCM } from "../dataplane/layout.ts";
import { nativePairOf } from "../drivers/native_x25519.ts";
import * as control from "../handshake/control.ts";
import { AES_128_GCM, clientKey, groupKey } from "../handshake/keys.ts";
import { mac1Key, writeMac2 } from "../handshake/macs.ts";
import { groupNameBytes, INSTANCE_LEN, MODE_TUNNEL } from "../handshake/offer.ts";
import { type InitSent, makeInit, readAnswer, readCookie } from "../handshake/requests.ts";
import { MUX } from "../wire/satp.ts";

/** What the child is told, as JSON. */
export interface LoadOrder {
  /** The group's public key, base64. */
  readonly groupKey: string;
  readonly node: string;
  readonly port: number;
  /** Clients [first, first + clients) come. */
  readonly first: number;
  readonly clients: number;
  /** Added to the numbers of requests, so that two of one client differ. */
  readonly offset: number;
  readonly sources: readonly string[];
}

/** What the child prints, as JSON. */
export interface LoadRound {
  readonly done: number;
  readonly failed: number;
  readonly cookies: number;
  readonly seconds: number;
}

const SOURCE_PORT = 4444;
/** Handshakes under way at a time; more than a busy node's receive buffer holds would be lost there. */
const IN_FLIGHT = 64;
const PATIENCE_MS = 1000;
const entropy = entropyOf(nativePairOf);
const PSK = new Uint8Array(32);

const seedOf = (n: number): Buffer => createHash("sha256").update(`anyhop benchmark client ${n}`).digest();

/** The key of client `n`, the same in every run: its public half stands in the node's file. */
export const clientPair = (n: number): KeyPair => nativePairOf(seedOf(n));

interface Source {
  readonly socket: Socket;
  cookie: Uint8Array | undefined;
}

interface Asked {
  readonly sent: InitSent;
  readonly source: Source;
  sinceMs: number;
  state: "waiting" | "asked" | "answered" | "done" | "failed";
}

class Round {
  readonly #order: LoadOrder;
  readonly #asked: readonly Asked[];
  readonly #finish: (round: LoadRound) => void;
  readonly #startMs = performance.now();
  readonly #timer: NodeJS.Timeout;
  #next = 0;
  #done = 0;
  #failed = 0;
  #cookies = 0;

  constructor(order: LoadOrder, asked: readonly Asked[], finish: (round: LoadRound) => void) {
    this.#order = order;
    this.#asked = asked;
    this.#finish = finish;
    this.#timer = setInterval(() => this.#giveUp(), 100);
    for (let i = 0; i < IN_FLIGHT; i++) this.#ask();
  }

  receive(datagram: Buffer): void {
    if (datagram.length < control.BODY) return;
    const mux = datagram.readUInt16BE(MUX);
    if (mux !== control.CONTROL_MUX) {
      // Receiver and transaction of a request are the same number here.
      const asked = this.#of(mux & control.INDEX_LOW);
      if (asked?.state === "answered") this.#end(asked, "done");
      return;
    }
    const asked = this.#of(datagram.readUInt32BE(control.TRANSACTION));
    if (asked?.state !== "asked") return;
    const type = control.check(datagram);
    if (type === control.COOKIE) this.#again(asked, datagram);
    else if (type === control.RESPONSE) this.#confirm(asked, datagram);
  }

  /** Undefined for what belongs to the round before. */
  #of(transaction: number): Asked | undefined {
    return this.#asked[transaction - this.#order.offset];
  }

  #ask(): void {
    const asked = this.#asked[this.#next++];
    if (asked === undefined) return;
    asked.state = "asked";
    asked.sinceMs = performance.now();
    const { cookie } = asked.source;
    if (cookie !== undefined) writeMac2(cookie, asked.sent.datagram);
    this.#send(asked, asked.sent.datagram);
  }

  #again(asked: Asked, datagram: Uint8Array): void {
    const cookie = readCookie(asked.sent, datagram);
    if (cookie === undefined) return;
    this.#cookies++;
    asked.source.cookie = cookie;
    writeMac2(cookie, asked.sent.datagram);
    this.#send(asked, asked.sent.datagram);
  }

  #confirm(asked: Asked, datagram: Uint8Array): void {
    const read = readAnswer(asked.sent, PSK, datagram);
    if (typeof read === "string" || read.answer.kind !== "grant") {
      this.#end(asked, "failed");
      return;
    }
    const { index, senders } = read.answer;
    const [sealKey, openKey] = [clientKey(read.secret, AES_128_GCM), groupKey(read.secret, AES_128_GCM, senders[0])];
    const header = { seq: 0, senderId: index >>> 15, mux: 0x8000 | (index & control.INDEX_LOW) };
    asked.state = "answered";
    this.#send(asked, sealAead({ algorithm: ALG_AES_128_GCM, sealKey, openKey }, header, -1, PSK));
  }

  #send(asked: Asked, datagram: Uint8Array): void {
    asked.source.socket.send(datagram, this.#order.port, this.#order.node);
  }

  #giveUp(): void {
    const limit = performance.now() - PATIENCE_MS;
    for (const asked of this.#asked) {
      if ((asked.state === "asked" || asked.state === "answered") && asked.sinceMs < limit) this.#end(asked, "failed");
    }
  }

  #end(asked: Asked, state: "done" | "failed"): void {
    asked.state = state;
    if (state === "done") this.#done++;
    else this.#failed++;
    if (this.#done + this.#failed < this.#asked.length) {
      this.#ask();
      return;
    }
    clearInterval(this.#timer);
    const seconds = (performance.now() - this.#startMs) / 1000;
    this.#finish({ done: this.#done, failed: this.#failed, cookies: this.#cookies, seconds });
  }
}

/** Each client comes once. Prints a `LoadRound`. */
export async function runLoad(order: LoadOrder): Promise<void> {
  let round: Round | undefined;
  const receive = (datagram: Buffer) => round?.receive(datagram);
  const sources = await Promise.all(order.sources.map((address) => openSource(address, receive)));
  const group = new Uint8Array(Buffer.from(order.groupKey, "base64"));
  const asked = Array.from({ length: order.clients }, (_, i): Asked => {
    const n = order.first + i;
    const own = clientPair(n);
    const identity = { own, groupKey: group, groupName: groupNameBytes(""), psk: PSK, mac1Key: mac1Key(group) };
    // The same instance each time: to the node these are rekeys, not other machines with the same key.
    const instance = seedOf(n).subarray(0, INSTANCE_LEN);
    const offer = { timestamp: Date.now(), aeads: 1 << AES_128_GCM, modes: MODE_TUNNEL, instance };
    const number = order.offset + i;
    const sent = makeInit(identity, entropy.keyPair(), offer, number, number, undefined)!;
    return { sent, source: sources[n % sources.length]!, sinceMs: 0, state: "waiting" };
  });
  const result = await new Promise<LoadRound>((finish) => {
    round = new Round(order, asked, finish);
  });
  process.stdout.write(JSON.stringify(result));
  for (const { socket } of sources) socket.close();
}

function openSource(address: string, receive: (datagram: Buffer) => void): Promise<Source> {
  const socket = createSocket("udp4");
  socket.on("message", receive);
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(SOURCE_PORT, address, () => resolve({ socket, cookie: undefined }));
  });
}
