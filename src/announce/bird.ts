/**
 * BIRD 2 over its control socket. A phase is a set of protocols that are enabled; the others of the two lists are
 * disabled. Enabled first, disabled then: a change between announced and draining is one update at the routers. The
 * connection stays open, so that the end of BIRD is noticed at once.
 */
import { createConnection, type Socket } from "node:net";
import { AnyhopError } from "../base/errors.ts";
import { protocolStates, type ReplyLine, ReplyReader, refusalOf } from "./bird_reply.ts";
import type { AnnounceSpec, Phase } from "./spec.ts";
import type { Driver } from "./steering.ts";

type BirdSpec = Pick<AnnounceSpec, "socket" | "protocols" | "drainProtocols" | "timeoutMs">;

const GREETING = 1;

export class BirdDriver implements Driver {
  readonly #spec: BirdSpec;
  readonly #onLost: () => void;
  #link: BirdLink | undefined;

  /** `onLost`: BIRD has ended or was restarted. */
  constructor(spec: BirdSpec, onLost: () => void) {
    this.#spec = spec;
    this.#onLost = onLost;
  }

  async apply(phase: Phase): Promise<void> {
    const { on, off } = this.#sets(phase);
    await this.#with(async (link) => {
      for (const name of on) await this.#ask(link, `enable ${name}`, name);
      for (const name of off) await this.#ask(link, `disable ${name}`, name);
    });
  }

  async refresh(phase: Phase): Promise<boolean> {
    const { on, off } = this.#sets(phase);
    const states = protocolStates(await this.#with((link) => this.#ask(link, "show protocols")));
    if (on.every((name) => states.get(name) !== "down") && off.every((name) => states.get(name) === "down"))
      return false;
    await this.apply(phase);
    return true;
  }

  close(): void {
    this.#link?.end();
    this.#link = undefined;
  }

  #sets(phase: Phase): { on: readonly string[]; off: readonly string[] } {
    const { protocols, drainProtocols } = this.#spec;
    if (phase === "announced") return { on: protocols, off: drainProtocols };
    if (phase === "draining") return { on: drainProtocols, off: protocols };
    return { on: [], off: [...protocols, ...drainProtocols] };
  }

  /** A connection that lay idle may have ended unseen: then the same is asked on a new one. */
  async #with<T>(work: (link: BirdLink) => Promise<T>): Promise<T> {
    const wasOpen = this.#link !== undefined;
    try {
      return await work(await this.#connected());
    } catch (error) {
      if (!wasOpen || !(error instanceof AnyhopError) || error.code !== "bird_lost") throw error;
      return work(await this.#connected());
    }
  }

  async #connected(): Promise<BirdLink> {
    if (this.#link !== undefined) return this.#link;
    this.#link = await BirdLink.open(this.#spec.socket, this.#spec.timeoutMs, (ended) => {
      if (this.#link !== ended) return;
      this.#link = undefined;
      this.#onLost();
    });
    return this.#link;
  }

  async #ask(link: BirdLink, command: string, protocol?: string): Promise<readonly ReplyLine[]> {
    const reply = await link.ask(command, this.#spec.timeoutMs);
    const refusal = refusalOf(reply);
    if (refusal === undefined) return reply;
    // BIRD does not know the word: names of protocols are part of its grammar.
    if (refusal.code === 9001 && protocol !== undefined)
      throw new AnyhopError(
        "bird_protocol",
        `BIRD has no protocol ${protocol}: write it into BIRD's configuration (docs/samples/bird/node.conf) or correct announce.protocols and announce.drain_protocols.`,
      );
    throw new AnyhopError("bird_refused", `BIRD refuses "${command}": ${refusal.text} (${refusal.code}).`);
  }
}

/** One connection. Commands are asked one after the other. */
export class BirdLink {
  readonly #path: string;
  readonly #socket: Socket;
  readonly #reader = new ReplyReader();
  #take: ((reply: readonly ReplyLine[] | AnyhopError) => void) | undefined;

  private constructor(path: string, socket: Socket, onEnd: (link: BirdLink) => void) {
    this.#path = path;
    this.#socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (chunk: string) => {
      try {
        for (const reply of this.#reader.push(chunk)) this.#give(reply);
      } catch (error) {
        this.#fail("bird_answer", `What listens on ${path} is not BIRD: ${(error as Error).message}.`);
      }
    });
    socket.on("error", (error: NodeJS.ErrnoException) => this.#fail("bird_unreachable", unreachable(path, error)));
    socket.on("close", () => {
      this.#give(new AnyhopError("bird_lost", `BIRD has ended the connection on ${path}; is it being restarted?`));
      onEnd(this);
    });
  }

  /** Connects and reads the greeting. */
  static async open(path: string, timeoutMs: number, onEnd: (link: BirdLink) => void): Promise<BirdLink> {
    const link = new BirdLink(path, createConnection({ path }), onEnd);
    const [greeting] = await link.#answer("its greeting", timeoutMs);
    if (greeting.code === GREETING) return link;
    link.end();
    throw new AnyhopError("bird_answer", `What listens on ${path} is not BIRD: it says "${greeting.text}".`);
  }

  async ask(command: string, timeoutMs: number): Promise<readonly ReplyLine[]> {
    const answer = this.#answer(`"${command}"`, timeoutMs);
    this.#socket.write(`${command}\n`);
    return answer;
  }

  end(): void {
    this.#socket.destroy();
  }

  #answer(what: string, timeoutMs: number): Promise<readonly ReplyLine[]> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#fail("bird_timeout", `BIRD on ${this.#path} did not answer ${what} within ${timeoutMs} ms.`),
        timeoutMs,
      );
      this.#take = (reply) => {
        clearTimeout(timer);
        if (reply instanceof AnyhopError) reject(reply);
        else resolve(reply);
      };
    });
  }

  #give(reply: readonly ReplyLine[] | AnyhopError): void {
    const take = this.#take;
    this.#take = undefined;
    take?.(reply);
  }

  /** The connection is of no use any more. */
  #fail(code: string, message: string): void {
    this.#give(new AnyhopError(code, message));
    this.#socket.destroy();
  }
}

function unreachable(path: string, error: NodeJS.ErrnoException): string {
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: "there is no such socket; start BIRD, or say where it is with announce.socket",
    ECONNREFUSED: "BIRD has left it behind; start BIRD",
    EACCES: "this user may not open it; start as root or add the user to the group bird",
    ENOTSOCK: "it is no socket; correct announce.socket",
  };
  return `BIRD cannot be reached on ${path}: ${reasons[error.code ?? ""] ?? error.message}.`;
}
