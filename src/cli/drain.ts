/** `anyhop drain` and `undrain`: clients go to other nodes before this one goes away. Shows what is waited for. */
import type { Command } from "commander";
import { ask, getHealth } from "../api/client.ts";
import type { AnnounceStatus } from "../api/contract.ts";
import { AnyhopError } from "../base/errors.ts";
import { duration } from "./text.ts";

interface DrainIo {
  out(text: string): void;
}

interface DrainOptions {
  readonly max: string;
  readonly exit?: true;
  readonly wait: boolean;
  readonly json?: true;
}

const POLL_MS = 200;
/** A line of progress this often. */
const PROGRESS_MS = 1000;
const MAX_S = 86_400;
/** After the drain: the last word to the routing daemon, then the end of the daemon. */
const END_PATIENCE_MS = 15_000;

/** `command`: makes a command with the options that all of them have; `socketOf`: which daemon they mean. */
export function addDrainCommands<T extends object>(
  command: (words: string, description: string, example: string) => Command,
  socketOf: (options: T) => string,
  io: DrainIo,
  done: (code: number) => void,
): void {
  const show = (options: { readonly json?: true }, answer: AnnounceStatus, sentence: string): void => {
    io.out(options.json ? `${JSON.stringify(answer, null, 2)}\n` : `${sentence}\n`);
    done(0);
  };
  command("drain", "send the clients to other nodes, then withdraw from routing", "anyhop drain --max 120 --exit")
    .option("--max <seconds>", "over after this, whether clients left or not", "60")
    .option("--exit", "end the daemon when it is over")
    .option("--no-wait", "return at once; status shows how it goes")
    .action(async (options: T & DrainOptions) => {
      const socket = socketOf(options);
      const maxS = secondsOf(options.max);
      const exit = options.exit === true;
      const { name } = await getHealth(socket);
      const first = await ask(socket, "drain", { maxS, exit });
      if (!options.wait) return show(options, first, `${name}: ${progress(first)}`);
      const last = await follow(socket, first, maxS, (now) => {
        if (options.json === undefined) io.out(`${name}: ${progress(now)}\n`);
      });
      if (exit) await ended(socket, name);
      const left = last.wish === "drained" ? "is drained and withdrawn" : "serves again: somebody has ended the drain";
      show(options, last, `${name} ${left}${exit ? "; it has ended" : ""}.`);
      if (last.wish !== "drained") done(1);
    });
  command("undrain", "end a drain: the node serves again", "anyhop undrain").action(
    async (options: T & { readonly json?: true }) => {
      const socket = socketOf(options);
      const answer = await ask(socket, "undrain", {});
      const then = answer.healthy ? "is announced again" : "will be announced when its self-test is good";
      show(options, answer, `${(await getHealth(socket)).name} ${then}.`);
    },
  );
}

/** "draining, last packet of a client 0.2 s ago, at most 58 s left" */
export function progress({ wish, drain }: AnnounceStatus): string {
  if (drain === null) return wish === "drained" ? "drained" : "serving";
  const { quietMs, leftMs } = drain;
  const heard = quietMs < 1000 ? "clients still send here" : `no packet of a client for ${duration(quietMs)}`;
  return `draining, ${heard}, at most ${duration(leftMs)} left`;
}

/** Waits for the end of the drain. A daemon that ends meanwhile has drained: `--exit` means that. */
async function follow(
  socket: string,
  first: AnnounceStatus,
  maxS: number,
  tell: (now: AnnounceStatus) => void,
): Promise<AnnounceStatus> {
  const deadline = performance.now() + maxS * 1000 + END_PATIENCE_MS;
  let now = first;
  for (let nextLine = 0; now.wish === "drain"; ) {
    if (performance.now() > deadline) throw new AnyhopError("timeout", "The drain is not over in time; see status.");
    if (performance.now() >= nextLine) {
      tell(now);
      nextLine = performance.now() + PROGRESS_MS;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    try {
      now = await ask(socket, "announcement", {});
    } catch (error) {
      if (!(error instanceof AnyhopError) || error.code !== "no_daemon") throw error;
      return { ...now, wish: "drained", phase: "withdrawn", drain: null };
    }
  }
  return now;
}

/** Waits until nobody answers on the socket. */
async function ended(socket: string, name: string): Promise<void> {
  for (const deadline = performance.now() + END_PATIENCE_MS; performance.now() < deadline; ) {
    try {
      await getHealth(socket);
    } catch (error) {
      if (error instanceof AnyhopError && error.code === "no_daemon") return;
      throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new AnyhopError("timeout", `${name} is drained, but did not end within ${END_PATIENCE_MS / 1000} s.`);
}

function secondsOf(text: string): number {
  const value = Number(text);
  if (/^[0-9]+$/.test(text) && value <= MAX_S) return value;
  throw new AnyhopError("usage", `--max takes a whole number of seconds from 0 to ${MAX_S}, not "${text}".`);
}
