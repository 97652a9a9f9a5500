/** Control pings inside sessions that wait for their answers; a node and a client ping alike. */
import type { Clock } from "../base/clock.ts";
import { AnyhopError } from "../base/errors.ts";
import type { Entropy } from "../crypto/entropy.ts";

const TOKEN_LEN = 8;

export class Pings {
  readonly #clock: Clock;
  readonly #entropy: Entropy;
  readonly #waiting = new Map<string, (receivedMs: number) => void>();

  constructor(clock: Clock, entropy: Entropy) {
    this.#clock = clock;
    this.#entropy = entropy;
  }

  /** Round trip in milliseconds. `seal` sends PING with the token. Rejects with AnyhopError "ping_timeout". */
  send(timeoutMs: number, seal: (token: Uint8Array) => void): Promise<number> {
    const token = this.#entropy.bytes(TOKEN_LEN);
    const name = nameOf(token);
    const sentMs = this.#clock.monotonicMs();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(name);
        reject(new AnyhopError("ping_timeout", `No answer within ${timeoutMs} ms.`));
      }, timeoutMs);
      this.#waiting.set(name, (receivedMs) => {
        clearTimeout(timer);
        resolve(receivedMs - sentMs);
      });
      seal(token);
    });
  }

  /** PONG with this token arrived. */
  answered(token: Uint8Array): void {
    const name = nameOf(token);
    this.#waiting.get(name)?.(this.#clock.monotonicMs());
    this.#waiting.delete(name);
  }
}

const nameOf = (token: Uint8Array): string => Buffer.from(token).toString("hex");
