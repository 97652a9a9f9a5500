/**
 * The static key of the group that a client asks under: that of its file, or a later one that the group's operator has signed
 * and a node has told in a session. What was learnt is on disk before it is used, so a client that was away for long goes on
 * from the newest key that it ever heard of.
 */
import { keyInForce, readNotice, type SignedNotice, successorOf } from "../../crypto/group_key_notice.ts";
import type { ServiceSpec } from "../spec/instance.ts";
import type { Store } from "../spec/ports.ts";

export class KeptGroupKey {
  readonly #operator: Uint8Array | undefined;
  readonly #name: `group_keys ${string}`;
  readonly #store: Pick<Store, "agreed" | "agree">;
  #current: Uint8Array;

  /** `name`: under what it is kept, one for each service. What is kept and can't be used is as good as nothing. */
  constructor(
    service: Pick<ServiceSpec, "publicKey" | "operator">,
    name: string,
    store: Pick<Store, "agreed" | "agree">,
  ) {
    this.#operator = service.operator;
    this.#name = `group_keys ${name}`;
    this.#store = store;
    this.#current = service.publicKey;
    const kept = store.agreed(this.#name);
    const notice = kept === undefined ? undefined : this.#read(new TextDecoder().decode(kept));
    if (typeof notice === "object") this.#current = successorOf(notice, this.#current) ?? this.#current;
  }

  /** 32 bytes. */
  get current(): Uint8Array {
    return this.#current;
  }

  /** Takes a notice, or says why not. "known": nothing new. Throws when there is no room on the disk. */
  learn(text: string): "learnt" | "known" | { readonly fault: string } {
    const notice = this.#read(text);
    if (typeof notice === "string") return { fault: notice };
    const next = successorOf(notice, this.#current);
    if (next === undefined) {
      const isListed = notice.keys.some((key) => Buffer.compare(key, this.#current) === 0);
      return isListed ? "known" : { fault: "it does not name the key that this client knows: it is of another group" };
    }
    this.#store.agree(this.#name, new TextEncoder().encode(text));
    this.#current = keyInForce(notice);
    return "learnt";
  }

  #read(text: string): SignedNotice | string {
    if (this.#operator === undefined)
      return "the file names no operator whose word would count; ask for a new invitation";
    return readNotice(text, this.#operator);
  }
}
