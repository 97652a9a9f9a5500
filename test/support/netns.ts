/**
 * Whether tests that need network namespaces can run here. The namespaces themselves come from src/bench/netns.ts. A
 * missing program is a failure on CI, where everything is meant to be installed; elsewhere it is a reason to skip.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { findProgram } from "../../src/bench/netns.ts";

/** Why namespaces (and devices, with `tun`) are impossible here, as a sentence; undefined when they are possible. */
export function whyNoNetns(
  needs: { readonly tun?: boolean; readonly programs?: readonly string[] } = {},
): string | undefined {
  for (const program of ["ip", ...(needs.programs ?? [])]) {
    if (findProgram(program) !== undefined) continue;
    const reason = `the program \`${program}\` is missing`;
    if (process.env["CI"] === "true") throw new Error(`These tests cannot run: ${reason}.`);
    return reason;
  }
  if (process.getuid?.() !== 0) return "network namespaces need root";
  if (needs.tun && !existsSync("/dev/net/tun")) return "/dev/net/tun is missing";
  const ip = findProgram("ip") as string;
  const probe = `anyhop-probe-${process.pid}`;
  const made = spawnSync(ip, ["netns", "add", probe], { encoding: "utf8" });
  if (made.status !== 0) return `network namespaces are not permitted here: ${made.stderr.trim()}`;
  spawnSync(ip, ["netns", "del", probe]);
  return undefined;
}

/** Moves back to the namespace of the program that started the tests. For use with `enterNetns`. */
export const HOME_NETNS = `/proc/${process.ppid}/ns/net`;
