/**
 * Who asked for a session lately and got none, and why: what an operator looks for when somebody says "it does not work".
 * Bounded lists, the latest of each; clients that proved who they are have one of their own, so strangers push none of them
 * out. Strangers are listed at a bounded rate: a flood costs nothing here, and is in the counters.
 */

import type { Endpoint } from "../base/ip.ts";
import type { Now } from "./clock.ts";

const LISTED_MAX = 64;
/** Requests of strangers that are looked at in a second. */
const STRANGERS_PER_SECOND = 20;

export interface RefusedRequest {
  /** Name of a NodeOutcome, or unconfirmed: the session was granted, and its client was never heard in it. */
  readonly reason: string;
  /** With reason "refused": which; else "". */
  readonly detail: string;
  /** Of a client that proved its key; else "". */
  readonly clientName: string;
  /** In hex; "" when the request did not say it in a readable way. Of a stranger it is only claimed. */
  readonly clientKey: string;
  /** Of the last request. Unless the client proved itself, anybody may have written it. */
  readonly from: Endpoint;
  readonly count: number;
  /** Milliseconds since 1970. */
  readonly firstMs: number;
  readonly lastMs: number;
}

export type Asker = Pick<RefusedRequest, "clientName" | "clientKey">;
const NOBODY: Asker = { clientName: "", clientKey: "" };

type Listed = { -readonly [K in keyof RefusedRequest]: RefusedRequest[K] };

export class RefusedRequests {
  /** In the order of the last request, oldest first. */
  readonly #clients = new Map<string, Listed>();
  readonly #strangers = new Map<string, Listed>();
  #second = -1;
  #looked = 0;

  /** `asker` undefined: the request does not open. A `clientName` says that the key was proven. */
  note(now: Now, reason: string, detail: string, from: Endpoint, asker: Asker = NOBODY): void {
    const isClient = asker.clientName !== "";
    if (!isClient && !this.#mayLook(now.ms)) return;
    const list = isClient ? this.#clients : this.#strangers;
    const who = asker.clientKey || `${from.w0} ${from.w1} ${from.w2} ${from.w3}`;
    const name = `${reason} ${detail} ${who}`;
    const known = list.get(name);
    list.delete(name);
    if (known === undefined && list.size >= LISTED_MAX) list.delete(list.keys().next().value!);
    const { count, firstMs } = known ?? { count: 0, firstMs: now.wallMs };
    list.set(name, { reason, detail, ...asker, from, count: count + 1, firstMs, lastMs: now.wallMs });
  }

  /** The latest first. */
  list(): RefusedRequest[] {
    return [...this.#clients.values(), ...this.#strangers.values()].sort((a, b) => b.lastMs - a.lastMs);
  }

  #mayLook(ms: number): boolean {
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) [this.#second, this.#looked] = [second, 0];
    return this.#looked++ < STRANGERS_PER_SECOND;
  }
}
