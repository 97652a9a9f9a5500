/**
 * The programs that the end-to-end benchmark compares, one entry of a table each. All of them join 10.9.0.1 (left) and
 * 10.9.0.2 (right). Measuring and printing are elsewhere.
 */
import { mkdir, readFile } from "node:fs/promises";
import { OUTER, type Pair, type Program, run } from "./netns.ts";
import { startFastd, startOpenvpn, startTinc, startWireguard } from "./peer_programs.ts";
import { startSession } from "./session_ends.ts";
import { ANYHOP, DEVICE, INNER, other, type Side, type Start, startBoth } from "./tunnel_ends.ts";

export interface Peer {
  readonly name: string;
  /** Whether it is the program under test. */
  readonly ours: boolean;
  /** Programs that have to be installed; the first one knows the version. */
  readonly needs: readonly string[];
  /** One line for the report: what is measured. */
  readonly help: string;
  /** Address that the measurement talks to. */
  readonly target: string;
  /** Time that the tunnel needs after the first packet until it goes its usual way. */
  readonly settleMs?: number;
  readonly start: Start;
}

const AES = ["-c", "aes-ctr", "-a", "sha1", "-k", "aes-ctr"];
const NULL = ["-c", "null", "-a", "null", "-k", "null"];

/** Options that anytun, uanytun and `anyhop classic` share. */
function classicArgs(side: Side): string[] {
  return [
    ...["-D", "-i", OUTER[side].v4, "-r", OUTER[other(side)].v4, "-d", DEVICE, "-t", "tun"],
    ...["-n", `${INNER[side]}/24`, "-E", "benchmark", "-e", side],
  ];
}

const routed = (side: Side): string[] => ["-R", `${INNER[other(side)]}/32`];

const classic = (program: string, name: string, help: string, extra: (side: Side) => string[]): Peer => ({
  name,
  ours: false,
  needs: [program],
  help,
  target: INNER.right,
  start: async (pair, _dir, started) =>
    startBoth(pair, started, (side) => [program, ...classicArgs(side), "-L", "stderr:2", ...extra(side)]),
});

const ours = (name: string, help: string, crypto: readonly string[]): Peer => ({
  name,
  ours: true,
  needs: [],
  help,
  target: INNER.right,
  start: async (pair, dir, started) =>
    startBoth(pair, started, (side) => [
      ...[ANYHOP, "classic", ...classicArgs(side), ...crypto, ...routed(side)],
      ...["--control-socket", `${dir}/${side}.sock`, "--state-dir", `${dir}/${side}`],
    ]),
});

const foreign = (name: string, needs: readonly string[], help: string, start: Start, settleMs = 0): Peer => ({
  ...{ name, ours: false, needs, help, target: INNER.right, settleMs, start },
});

/** In the order of the report. */
export const peers: readonly Peer[] = [
  {
    ...{ name: "raw", ours: false, needs: [], help: "the bare veth pair, no tunnel", target: OUTER.right.v4 },
    start: async () => {},
  },
  classic("anytun", "anytun", "aes-ctr-128, sha1/10", (side) => [...AES, ...routed(side)]),
  classic("anytun", "anytun-null", "no cipher, no authentication", (side) => [...NULL, ...routed(side)]),
  classic("uanytun", "uanytun", "aes-ctr-128, sha1/10", () => AES),
  foreign("openvpn", ["openvpn", "openssl"], "AES-128-GCM in user space, 4 MB socket buffers", startOpenvpn),
  foreign("fastd", ["fastd"], "aes128-ctr+umac, tun mode", startFastd),
  foreign("wireguard-go", ["wireguard-go", "wg"], "ChaCha20-Poly1305, user space", startWireguard),
  // Until it has probed the path, tinc sends packets through its TCP control connection.
  foreign("tinc", ["tincd"], "aes-128-cbc, sha1, router mode", startTinc, 4000),
  ours("ours", "anyhop classic, aes-ctr-128, sha1/10", AES),
  ours("ours-null", "anyhop classic, no cipher, no authentication", NULL),
  {
    ...{ name: "ours-session", ours: true, needs: [], target: INNER.right },
    help: "anyhop run, a session of a client with a node, AES-256-GCM",
    start: async (pair, dir, started) => void (await startSession(pair, dir, started)),
  },
];

/** Makes the directory of one run and starts both ends in it; what was started is in `started` even on failure. */
export async function startPeer(peer: Peer, pair: Pair, dir: string, started: Program[]): Promise<void> {
  await mkdir(dir, { recursive: true });
  await peer.start(pair, dir, started);
}

/** The first number in what the program says to `--version`; "" when it says none. */
export async function versionOf(program: string): Promise<string> {
  const { stdout, stderr } = await run([program, "--version"], 5000);
  return /\d+(?:\.\d+)*/.exec(stdout + stderr)?.[0] ?? "";
}

/**
 * utime + stime in clock ticks, from the text of /proc/PID/stat (proc_pid_stat(5), fields 14 and 15). The name, field 2,
 * may hold blanks and parentheses: fields are counted from behind the last one.
 */
export function ticksOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** Processor time in clock ticks (1/100 s) and peak memory in KiB of the programs and of all their children. */
export async function usage(programs: readonly Program[]): Promise<{ ticks: number; peakKb: number }> {
  let ticks = 0;
  let peakKb = 0;
  const visit = async (pid: number): Promise<void> => {
    try {
      ticks += ticksOf(await readFile(`/proc/${pid}/stat`, "utf8"));
      const status = await readFile(`/proc/${pid}/status`, "utf8");
      peakKb = Math.max(peakKb, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0));
      const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
      for (const child of children.split(" ").filter(Boolean)) await visit(Number(child));
    } catch {
      // The process ended between two looks: it counts with what was seen of it.
    }
  };
  for (const program of programs) if (program.alive) await visit(program.pid);
  return { ticks, peakKb };
}
