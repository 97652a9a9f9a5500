/** What the figures depend on: the machine, its software, and how busy it was. Reads, changes nothing. */
import { readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import type { Origin } from "./results.ts";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};
export const VERSION = version;

/** `command`: what a person types to measure the same again. */
export function originOf(command: string): Origin {
  return {
    date: new Date().toISOString().slice(0, 10),
    command,
    anyhop: version,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: systemName(),
    kernel: release(),
    node: process.versions.node,
    openssl: process.versions.openssl,
    load: Math.round((loadavg()[0] ?? 0) * 10) / 10,
  };
}

/** os-release(5). */
function systemName(): string {
  try {
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "Linux";
  } catch {
    return "Linux";
  }
}
