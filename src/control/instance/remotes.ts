/**
 * Where a service of a client can be: the addresses of its file in turn, and of each name every address, before the next
 * name is looked up. A name is looked up anew each time that its turn comes.
 */
import { type Address, parseAddress } from "../../base/ip.ts";
import type { ServiceSpec } from "../spec/instance.ts";
import type { Resolver } from "../spec/ports.ts";

type Remote = ServiceSpec["remotes"][number];

export interface Place {
  readonly text: string;
  readonly address: Address;
  readonly port: number;
}

export interface RemotesPorts {
  readonly resolve: Resolver;
  /** Whether there is a socket for addresses of this family. */
  readonly speaks: (family: 4 | 6) => boolean;
  /** A name is being looked up that is no literal address. */
  readonly looking: (host: string) => void;
  /** No address came of it; `why` is a sentence about `host`. */
  readonly failed: (host: string, why: string) => void;
}

export class Remotes {
  readonly #remotes: readonly Remote[];
  readonly #use: RemotesPorts;
  /** Of the name that was looked up last: addresses whose turn has not come. */
  #waiting: Place[] = [];
  #turn = 0;

  constructor(remotes: readonly Remote[], ports: RemotesPorts) {
    this.#remotes = remotes;
    this.#use = ports;
  }

  /** Every address of the file has had its turn since the start, or since `found`. */
  get swept(): boolean {
    return this.#waiting.length === 0 && this.#turn >= this.#remotes.length;
  }

  /** The last place is good. */
  found(): void {
    this.#turn %= this.#remotes.length;
  }

  /** The next place to ask; undefined: no name of the file leads to one now. */
  async next(): Promise<Place | undefined> {
    for (let k = 0; k < this.#remotes.length && this.#waiting.length === 0; k++) {
      const remote = this.#remotes[this.#turn++ % this.#remotes.length];
      this.#waiting = await this.#placesOf(remote);
    }
    return this.#waiting.shift();
  }

  async #placesOf({ host, port }: Remote): Promise<Place[]> {
    if (parseAddress(host) === undefined) this.#use.looking(host);
    const texts = await this.#use.resolve(host).catch((error: Error) => {
      this.#use.failed(host, `${host} was not found: ${whyNoName(error)}`);
      return undefined;
    });
    if (texts === undefined) return [];
    const places = texts.flatMap((text) => {
      const address = parseAddress(text);
      return address !== undefined && this.#use.speaks(address.family) ? [{ text, address, port }] : [];
    });
    if (places.length === 0)
      this.#use.failed(host, `${host} has no address of a family that this machine speaks (${texts.join(", ")})`);
    return places;
  }
}

/** What a look-up of a name failed by, and where it is mended. */
function whyNoName(error: Error & { readonly code?: string }): string {
  if (error.code === "ENOTFOUND") return "there is no such name; is it right in the file, and in the DNS (ENOTFOUND)";
  if (error.code === "EAI_AGAIN")
    return "no name server answers; look at /etc/resolv.conf and the way to the servers there (EAI_AGAIN)";
  return error.message;
}
