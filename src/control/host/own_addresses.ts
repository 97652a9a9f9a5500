/**
 * Which own address datagrams to a client are sent from: always the one that the client sends to, whatever the routes of
 * this host say. Translates between marks of addresses (cluster/endpoint.ts), which nodes tell each other, and `sock` of the
 * data plane: a socket, and on sockets bound to a wildcard the number of an own address above its low byte.
 */
import { type Address, parseAddress } from "../../base/ip.ts";
import { addressMark } from "../../cluster/endpoint.ts";
import type { LocalAddresses } from "../spec/ports.ts";

interface Listener {
  readonly sock: number;
  readonly family: 4 | 6;
  /** Undefined on a wildcard. */
  readonly mark: number | undefined;
}

/** An address may come while the daemon runs, and a wrong mark must not make it look at all of them each time. */
const LOOK_AGAIN_MS = 1000;
const INDEX_BITS = 8;

export class OwnAddresses {
  readonly #listeners: readonly Listener[];
  readonly #local: LocalAddresses;
  readonly #nowMs: () => number;
  /** By mark: number of an address of this host. */
  readonly #numbers = new Map<number, number>();
  /** By mark: addresses of this host, as of the last look. */
  #texts: ReadonlyMap<number, string> = new Map();
  /** By number. */
  readonly #marks = new Map<number, number>();
  /** What is sent from when nobody knows better, by family. */
  readonly #first = new Map<4 | 6, number>();
  #lookedMs = Number.NEGATIVE_INFINITY;

  /** `sockets`: their indices in the order of `listen`, below 0 where there is none. */
  constructor(
    listen: readonly { readonly address: string }[],
    sockets: readonly number[],
    service: readonly string[],
    local: LocalAddresses,
    nowMs: () => number,
  ) {
    this.#local = local;
    this.#nowMs = nowMs;
    this.#listeners = listen.flatMap(({ address }, i): Listener[] => {
      const own = parseAddress(address);
      if (own === undefined || sockets[i] < 0) return [];
      const isWildcard = own.w0 === 0 && own.w1 === 0 && own.w3 === 0 && (own.family === 4 || own.w2 === 0);
      return [{ sock: sockets[i], family: own.family, mark: isWildcard ? undefined : addressMark(own) }];
    });
    for (const address of service) this.#note(address);
    for (const text of service) {
      const own = parseAddress(text);
      if (own === undefined || this.#first.has(own.family)) continue;
      const sock = this.#from(own.family, addressMark(own));
      if (sock >= 0) this.#first.set(own.family, sock);
    }
    for (const { family, sock } of this.#listeners) if (!this.#first.has(family)) this.#first.set(family, sock);
  }

  /** See ShardPort.socketFor. */
  socketFor(family: 4 | 6, asked = 0): number {
    const sock = asked === 0 ? -1 : this.#from(family, asked);
    return sock >= 0 ? sock : (this.#first.get(family) ?? -1);
  }

  /** See ShardPort.askedBy. */
  askedBy(sock: number): number {
    const number = sock >> INDEX_BITS;
    const listener = this.#listeners.find((one) => one.sock === (sock & ((1 << INDEX_BITS) - 1)));
    if (listener?.mark !== undefined) return listener.mark;
    if (number === 0) return 0;
    const known = this.#marks.get(number);
    if (known !== undefined) return known;
    const words = this.#local.addressOf(number);
    if (words === undefined) return 0;
    return this.#remember(number, addressMark({ w0: words[0], w1: words[1], w2: words[2], w3: words[3] }));
  }

  /** What sends from the own address with this mark; -1: there is no such address here, or no socket that may. */
  #from(family: 4 | 6, mark: number): number {
    let wildcard = -1;
    for (const listener of this.#listeners) {
      if (listener.family !== family) continue;
      if (listener.mark === mark) return listener.sock;
      if (listener.mark === undefined && wildcard < 0) wildcard = listener.sock;
    }
    if (wildcard < 0) return -1;
    const number = this.#numbers.get(mark) ?? this.#look(mark);
    return number === undefined || number === 0 ? -1 : wildcard | (number << INDEX_BITS);
  }

  #look(mark: number): number | undefined {
    if (!this.#texts.has(mark) && this.#nowMs() - this.#lookedMs >= LOOK_AGAIN_MS) {
      this.#lookedMs = this.#nowMs();
      const all = this.#local.ofHost().flatMap((text): [number, string][] => {
        const own = parseAddress(text);
        return own === undefined ? [] : [[addressMark(own), text]];
      });
      this.#texts = new Map(all);
    }
    const text = this.#texts.get(mark);
    return text === undefined ? undefined : this.#note(text);
  }

  #note(address: string): number | undefined {
    const own: Address | undefined = parseAddress(address);
    if (own === undefined) return undefined;
    const number = this.#local.numberOf(address);
    if (number > 0) this.#remember(number, addressMark(own));
    return number;
  }

  #remember(number: number, mark: number): number {
    this.#marks.set(number, mark);
    this.#numbers.set(mark, number);
    return mark;
  }
}
