/**
 * What all tunnels of the end-to-end benchmark have in common: two sides, their addresses, and how a program is started
 * on both. How each program is told so is in `peers.ts` and `peer_programs.ts`.
 */
import { fileURLToPath } from "node:url";
import type { Namespace, Pair, Program } from "./netns.ts";

/** The command under test, beside this package's `dist` (or `src`, in the tests). */
export const ANYHOP = fileURLToPath(new URL("../../bin/anyhop", import.meta.url));

/** This benchmark's own entry, for what runs in a namespace. */
export const BENCH = fileURLToPath(new URL("../../dist/bench/main.js", import.meta.url));

export const INNER = { left: "10.9.0.1", right: "10.9.0.2" } as const;
export const DEVICE = "vt0";

export type Side = "left" | "right";
export const SIDES: readonly Side[] = ["left", "right"];
export const other = (side: Side): Side => (side === "left" ? "right" : "left");

/**
 * Starts both ends of a tunnel in empty directory `dir`. Each program goes into `started` at once, so that the caller
 * can stop it whatever fails after it.
 */
export type Start = (pair: Pair, dir: string, started: Program[]) => Promise<void>;

export function startBoth(
  pair: Pair,
  started: Program[],
  argv: (side: Side, namespace: Namespace) => readonly string[],
): void {
  for (const side of SIDES) started.push(pair[side].start(argv(side, pair[side])));
}
