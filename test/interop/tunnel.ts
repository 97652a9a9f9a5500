/**
 * One tunnel between two namespaces, each end any of the programs that speak SATP. The tests say which program stands
 * on which side and with which settings; this file turns that into command lines, waits until the tunnel carries a
 * packet, and pings through it. It does not judge: the tests do.
 */
import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { afterAll } from "vitest";
import { type Namespace, OUTER, type Pair, type Program, run, sleep } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";

export type Side = "left" | "right";
export type Speaker = "anyhop" | "anytun" | "uanytun";
export type KeyName = "null" | "aes-ctr-128" | "aes-ctr-192" | "aes-ctr-256";

/** What both ends share. */
export interface Settings {
  readonly device: "tun" | "tap";
  readonly outer: "v4" | "v6";
  readonly cipher: KeyName;
  readonly kd: KeyName;
  /** Bytes of HMAC-SHA1, or null: no authentication. */
  readonly tag: number | null;
  readonly mux: number;
}

/** What one end has for itself. */
export interface End {
  readonly speaker: Speaker;
  readonly role: "left" | "right";
  readonly senderId: number;
  readonly passphrase: string;
  /** Replay window; 0 = off. */
  readonly window: number;
  /** Without: learns the other end from its first packet. */
  readonly remote: { readonly address: string; readonly port: number } | undefined;
  /** Local address; undefined binds all. */
  readonly bind: string | undefined;
  /** Further options, last on the command line: they win over the same option before them. */
  readonly extra: readonly string[];
}

export const DEFAULTS: Settings = {
  device: "tun",
  outer: "v4",
  cipher: "aes-ctr-128",
  kd: "aes-ctr-128",
  tag: 10,
  mux: 0,
};
export const PORT = 4444;
export const DEVICE = "vt0";
export const INNER = {
  left: { v4: "10.9.0.1", v6: "2001:db8:9::1" },
  right: { v4: "10.9.0.2", v6: "2001:db8:9::2" },
} as const;

const READY_MS = 60_000;

export const otherSide = (side: Side): Side => (side === "left" ? "right" : "left");

/** An end with the usual address, role and key of its side. */
export function end(side: Side, speaker: Speaker, settings: Settings, change: Partial<End> = {}): End {
  const other = otherSide(side);
  return {
    speaker,
    role: side,
    senderId: 0,
    passphrase: "correct horse battery staple",
    window: 0,
    remote: { address: OUTER[other][settings.outer], port: PORT },
    bind: OUTER[side][settings.outer],
    extra: [],
    ...change,
  };
}

/** The options of `end`, in the words that all three programs share. */
function optionsOf(side: Side, end: End, settings: Settings): string[] {
  const remote = end.remote === undefined ? [] : ["-r", end.remote.address, "-o", String(end.remote.port)];
  const auth = settings.tag === null ? ["-a", "null"] : ["-a", "sha1", "-b", String(settings.tag)];
  return [
    ...["-D", ...(end.bind === undefined ? [] : ["-i", end.bind]), ...remote, "-p", String(PORT)],
    ...["-d", DEVICE, "-t", settings.device, "-n", `${INNER[side].v4}/24`],
    ...["-m", String(settings.mux), "-s", String(end.senderId), "-w", String(end.window)],
    ...["-e", end.role, "-E", end.passphrase, "-c", settings.cipher, "-k", settings.kd, ...auth],
  ];
}

const scratches: string[] = [];
// Importing this file gives a test file this hook; a worker of the test runner may end without an exit event.
afterAll(() => {
  for (const dir of scratches.splice(0)) rmSync(dir, { recursive: true, force: true });
});

/** Files of one test: control sockets and state directories. Removed when the test file is through. */
export async function scratch(): Promise<string> {
  const dir = await mkdtemp(`${tmpdir()}/anyhop-test-`);
  scratches.push(dir);
  return dir;
}

export const socketOf = (dir: string, side: Side): string => `${dir}/${side}.sock`;

export function commandOf(side: Side, end: End, settings: Settings, dir: string): readonly string[] {
  const options = optionsOf(side, end, settings);
  options.push("-L", "stderr:3");
  if (end.speaker !== "anyhop") return [end.speaker, ...options, ...end.extra];
  const files = ["--control-socket", socketOf(dir, side), "--state-dir", `${dir}/${side}`];
  return [ANYHOP, "classic", ...options, ...files, ...end.extra];
}

/** Starts one end. It may not be ready yet when this returns. */
export function startEnd(pair: Pair, side: Side, end: End, settings: Settings, dir: string): Program {
  return pair[side].start(commandOf(side, end, settings, dir));
}

/** Waits for the device of a started end and gives it its IPv6 address, which the options cannot name. */
export async function deviceReady(namespace: Namespace, side: Side, program: Program): Promise<void> {
  const deadline = Date.now() + READY_MS;
  for (;;) {
    const argv = ["ip", "-n", namespace.name, "addr", "add", `${INNER[side].v6}/64`, "dev", DEVICE, "nodad"];
    const output = await run(argv);
    if (output.code === 0) return;
    if (!program.alive || Date.now() > deadline) {
      throw new Error(`The ${side} end made no device ${DEVICE} (${output.stderr.trim()}). It said: ${program.output}`);
    }
    await sleep(15);
  }
}

export interface PingResult {
  readonly sent: number;
  readonly received: number;
}

/** Sends `count` pings from one side to the inner address of the other, 50 ms apart. */
export async function ping(pair: Pair, from: Side, family: "v4" | "v6" = "v4", count = 3): Promise<PingResult> {
  const target = INNER[otherSide(from)][family];
  const once = async (interval: string) => {
    const output = await pair[from].run(["ping", "-q", "-c", String(count), "-i", interval, "-W", "1", target]);
    const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(output.stdout) ?? [];
    return { sent: Number(sent ?? count), received: Number(received ?? 0) };
  };
  const result = await once("0.05");
  // ping waits for the last answer as long as its interval; a loaded machine is later than that now and then.
  return result.received > 0 && result.received < result.sent ? once("1") : result;
}

/** Pings until the first answer; false when there is none for READY_MS, which is patience and no promise. */
export async function answers(pair: Pair, from: Side, family: "v4" | "v6" = "v4"): Promise<boolean> {
  const target = INNER[otherSide(from)][family];
  for (const deadline = Date.now() + READY_MS; Date.now() < deadline; await sleep(15))
    if ((await pair[from].run(["ping", "-q", "-c", "1", "-W", "0.3", target])).code === 0) return true;
  return false;
}

/** A running tunnel. */
export interface Tunnel {
  readonly left: Program;
  readonly right: Program;
  stop(): Promise<void>;
}

/**
 * Starts both ends and waits until a ping from `first` is answered. Throws what the programs said when it is not.
 */
export async function startTunnel(
  pair: Pair,
  ends: { readonly left: End; readonly right: End },
  settings: Settings,
  dir: string,
  first: Side = "left",
): Promise<Tunnel> {
  const left = startEnd(pair, "left", ends.left, settings, dir);
  const right = startEnd(pair, "right", ends.right, settings, dir);
  const stop = async () => {
    const gone = (end: End) => (end.speaker === "anyhop" ? "SIGTERM" : "SIGKILL");
    await Promise.all([left.stop(gone(ends.left)), right.stop(gone(ends.right))]);
  };
  try {
    await Promise.all([deviceReady(pair.left, "left", left), deviceReady(pair.right, "right", right)]);
    if (!(await answers(pair, first))) throw new Error("No ping came through the tunnel.");
    return { left, right, stop };
  } catch (error) {
    await stop();
    const said = `left (${ends.left.speaker}): ${left.output}\nright (${ends.right.speaker}): ${right.output}`;
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${said}`);
  }
}
