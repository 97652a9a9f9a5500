/**
 * Control pings inside sessions that wait for their answers; a node and a client ping alike. In a group the answer comes to
 * the node that routers send the client to, so the token names the node that asked, and the other one passes it on.
 */
import type { Clock } from "../../base/clock.ts";
import { AnyhopError } from "../../base/errors.ts";
import type { Entropy } from "../../crypto/entropy.ts";
import type { Pong } from "../spec/ports.ts";

const TOKEN_LEN = 8;
/** First bytes of a token that names a node: challenges of a take-over have random ones, and are not passed on. */
const NAMED = [0x70, 0x67];

export class Pings {
  readonly #clock: Clock;
  readonly #entropy: Entropy;
  readonly #node: number;
  readonly #waiting = new Map<string, (receivedMs: number, through: number) => void>();

  /** `node`: number of this node in its group; 0 elsewhere. */
  constructor(clock: Clock, entropy: Entropy, node = 0) {
    this.#clock = clock;
    this.#entropy = entropy;
    this.#node = node;
  }

  /** `seal` sends PING with the token. Rejects with AnyhopError "ping_timeout". */
  send(timeoutMs: number, seal: (token: Uint8Array) => void): Promise<Pong> {
    const token = this.#entropy.bytes(TOKEN_LEN);
    if (this.#node !== 0) token.set([...NAMED, this.#node]);
    const name = nameOf(token);
    const sentMs = this.#clock.monotonicMs();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(name);
        reject(new AnyhopError("ping_timeout", `No answer within ${timeoutMs} ms.`));
      }, timeoutMs);
      this.#waiting.set(name, (receivedMs, through) => {
        clearTimeout(timer);
        resolve({ rttMs: receivedMs - sentMs, node: through || null });
      });
      seal(token);
    });
  }

  /** PONG with this token arrived at node `through`; 0: nodes have no numbers here. */
  answered(token: Uint8Array, through = this.#node): void {
    const name = nameOf(token);
    this.#waiting.get(name)?.(this.#clock.monotonicMs(), through);
    this.#waiting.delete(name);
  }

  /** The other node that asked with this token; undefined: this one did, or nobody that is known. */
  askerOf(token: Uint8Array): number | undefined {
    const isNamed = token[0] === NAMED[0] && token[1] === NAMED[1];
    return isNamed && this.#node !== 0 && token[2] !== this.#node ? token[2] : undefined;
  }
}

const nameOf = (token: Uint8Array): string => Buffer.from(token).toString("hex");
