/**
 * Feeds mutated inputs to a table of parsers. A parser may say no in its own way; it must not throw anything that it does
 * not declare, must not take a second, and must end. An endless loop is ended from outside (node:vm) and reported with
 * its input.
 */
import vm from "node:vm";
import { Prng } from "../support/prng.ts";
import { mutateBytes, mutateText } from "./mutate.ts";

export type Input = Uint8Array | string;

export interface Parser {
  readonly name: string;
  /** Inputs that are taken as they are; never empty. */
  readonly valid: readonly Input[];
  /** undefined, false, a negative number or a sentence is a no. */
  readonly decode: (input: Input) => unknown;
  /** Whether this is an error that the parser says it throws. */
  readonly declared?: (error: unknown) => boolean;
  /** It has no way to say no, or the state that it has decides: only that it goes on is judged. */
  readonly takesAll?: boolean;
  /** Any change breaks the seal, so a changed input is never taken. */
  readonly sealed?: boolean;
  /** Share of the inputs, compared with 1 of the others: less for what is slow. */
  readonly weight?: number;
}

export interface Tally {
  readonly name: string;
  accepted: number;
  refused: number;
}

export interface Failure {
  readonly parser: string;
  readonly why: string;
  /** As JSON: hex of bytes, or the text. */
  readonly input: string;
}

/** Each input is much shorter: whatever takes that long has a fault. */
const SLOW_MS = 1000;
/** A batch takes some milliseconds; this long also when other programs have the processor. */
const HANG_MS = 20_000;
const BATCH = 64;
const FAILURES_MAX = 20;

export interface FuzzOptions {
  readonly inputs: number;
  readonly seed: number;
  readonly onProgress?: (done: number) => void;
}

export function fuzz(
  parsers: readonly Parser[],
  { inputs, seed, onProgress }: FuzzOptions,
): { readonly tallies: readonly Tally[]; readonly failures: readonly Failure[] } {
  const prng = new Prng(seed);
  const tallies = parsers.map(({ name }) => ({ name, accepted: 0, refused: 0 }));
  const failures: Failure[] = [];
  const weights = parsers.map(({ weight }) => weight ?? 1);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let done = 0;
  let told = 0;
  while (done < inputs && failures.length < FAILURES_MAX) {
    for (const [i, parser] of parsers.entries()) {
      const count = Math.min(inputs - done, Math.max(1, Math.round((BATCH * parsers.length * weights[i]) / total)));
      done += runBatch(parser, tallies[i], count, prng, failures);
    }
    if (onProgress !== undefined && done - told >= inputs / 20) {
      told = done;
      onProgress(done);
    }
  }
  return { tallies, failures };
}

function runBatch(parser: Parser, tally: Tally, count: number, prng: Prng, failures: Failure[]): number {
  const batch = Array.from({ length: count }, () => inputOf(parser, prng));
  let at = 0;
  while (at < count) {
    const ended = bounded(() => {
      for (; at < count; at++) {
        const start = performance.now();
        tryOne(parser, tally, batch[at], failures);
        if (performance.now() - start > SLOW_MS && isSlow(parser, batch[at]))
          failures.push({ parser: parser.name, why: `takes more than ${SLOW_MS} ms`, input: show(batch[at]) });
      }
    });
    if (ended) break;
    // The one that was under way may only have had bad luck: it has as long for itself.
    const input = batch[at++];
    if (!bounded(() => void attempt(parser, input)))
      failures.push({ parser: parser.name, why: `had not ended after ${HANG_MS} ms`, input: show(input) });
  }
  return count;
}

function inputOf({ valid }: Parser, prng: Prng): Input {
  const [one, other] = [valid[prng.nextBelow(valid.length)], valid[prng.nextBelow(valid.length)]];
  return typeof one === "string" ? mutateText(prng, one, other as string) : mutateBytes(prng, one, other as Uint8Array);
}

function tryOne(parser: Parser, tally: Tally, input: Input, failures: Failure[]): void {
  try {
    if (isNo(parser.decode(input))) tally.refused += 1;
    else tally.accepted += 1;
  } catch (error) {
    if (parser.declared?.(error) === true) tally.refused += 1;
    else failures.push({ parser: parser.name, why: String((error as Error).stack ?? error), input: show(input) });
  }
}

function attempt({ decode }: Parser, input: Input): void {
  try {
    decode(input);
  } catch {
    // It was judged before.
  }
}

/** Whether it takes that much of the processor each time: not when another program has taken it away. */
function isSlow(parser: Parser, input: Input): boolean {
  for (let i = 0; i < 3; i++) {
    const before = process.cpuUsage();
    attempt(parser, input);
    const { user, system } = process.cpuUsage(before);
    if ((user + system) / 1000 < SLOW_MS) return false;
  }
  return true;
}

export const isNo = (result: unknown): boolean =>
  result === undefined || result === false || typeof result === "string" || (typeof result === "number" && result < 0);

const show = (input: Input): string =>
  (typeof input === "string" ? JSON.stringify(input) : Buffer.from(input).toString("hex")).slice(0, 4000);

const script = new vm.Script("globalThis.anyhopFuzzCall()");

/** Runs `work`; false when it had to be ended from outside. */
function bounded(work: () => void): boolean {
  (globalThis as { anyhopFuzzCall?: () => void }).anyhopFuzzCall = work;
  try {
    script.runInThisContext({ timeout: HANG_MS });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return false;
    throw error;
  }
}
