/**
 * Tells when links, addresses, routes or rules of this host have changed: one `ip monitor` for the whole process, started
 * again when it ends. docs/decisions has why it is not a netlink socket of our own. Events may be lost, so who listens looks
 * by itself from time to time, too.
 */
import { type ChildProcess, spawn } from "node:child_process";

/** Changes come in bunches: wait for the rest of one. */
const SETTLE_MS = 100;
const RESTART_MS = 2000;

const listeners = new Set<() => void>();
let child: ChildProcess | undefined;
let timer: NodeJS.Timeout | undefined;

/** See HostNetwork.watch. */
export function watchHost(changed: () => void): () => void {
  // The same function may be given twice.
  const listener = () => changed();
  listeners.add(listener);
  if (child === undefined && listeners.size === 1) start();
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearTimeout(timer);
    timer = undefined;
    child?.kill();
    child = undefined;
  };
}

function start(): void {
  const own = spawn("ip", ["monitor", "link", "address", "route", "rule"], { stdio: ["ignore", "pipe", "ignore"] });
  child = own;
  own.stdout?.on("data", () => soon(SETTLE_MS, tell));
  own.on("error", () => {});
  own.on("close", () => {
    if (child !== own) return;
    // Something may have changed while nobody looked.
    clearTimeout(timer);
    timer = undefined;
    soon(RESTART_MS, () => {
      start();
      tell();
    });
  });
}

function tell(): void {
  for (const listener of listeners) listener();
}

function soon(ms: number, act: () => void): void {
  timer ??= setTimeout(() => {
    timer = undefined;
    act();
  }, ms);
}
