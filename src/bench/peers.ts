/**
 * How each tunnel program is started for the end-to-end benchmark: one entry of a table per program. All of them join
 * 10.9.0.1 (left) and 10.9.0.2 (right) through a device named vt0. Measuring and printing are elsewhere.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { must, type Namespace, OUTER, type Pair, type Program, run } from "./netns.ts";

export const INNER = { left: "10.9.0.1", right: "10.9.0.2" } as const;
export const DEVICE = "vt0";
/** The command under test, beside this package's `dist` (or `src`, in the tests). */
export const ANYHOP = fileURLToPath(new URL("../../bin/anyhop", import.meta.url));

type Side = "left" | "right";
const SIDES: readonly Side[] = ["left", "right"];
const other = (side: Side): Side => (side === "left" ? "right" : "left");

export interface Peer {
  readonly name: string;
  /** Programs that have to be installed. */
  readonly needs: readonly string[];
  /** One line for the report: what is measured. */
  readonly help: string;
  /** Address that the measurement talks to. */
  readonly target: string;
  /** Starts both ends. `dir` is an empty directory of this run. */
  start(pair: Pair, dir: string): Promise<Program[]>;
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

function startBoth(pair: Pair, argv: (side: Side, namespace: Namespace) => readonly string[]): Program[] {
  return SIDES.map((side) => pair[side].start(argv(side, pair[side])));
}

const classic = (name: string, program: string, help: string, extra: (side: Side) => string[]): Peer => ({
  name,
  needs: [program],
  help,
  target: INNER.right,
  start: async (pair) => startBoth(pair, (side) => [program, ...classicArgs(side), "-L", "stderr:2", ...extra(side)]),
});

const ours = (name: string, help: string, crypto: readonly string[]): Peer => ({
  name,
  needs: [],
  help,
  target: INNER.right,
  start: async (pair, dir) =>
    startBoth(pair, (side) => [
      ...[ANYHOP, "classic", ...classicArgs(side), ...crypto, "-R", `${INNER[other(side)]}/32`],
      ...["--control-socket", `${dir}/${side}.sock`, "--state-dir", `${dir}/${side}`],
    ]),
});

async function startOpenvpn(pair: Pair, dir: string): Promise<Program[]> {
  const fingerprint = {} as Record<Side, string>;
  for (const side of SIDES) {
    const [key, cert] = [`${dir}/${side}.key`, `${dir}/${side}.crt`];
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    const made = await run(
      ["openssl", "req", "-x509", ...curve, "-keyout", key, "-out", cert, "-days", "3", "-subj", `/CN=${side}`],
      60_000,
    );
    if (made.code !== 0) throw new Error(`openssl cannot make a certificate for openvpn: ${made.stderr.trim()}`);
    const print = await must(["openssl", "x509", "-in", cert, "-noout", "-sha256", "-fingerprint"]);
    fingerprint[side] = print.trim().split("=")[1] ?? "";
  }
  return startBoth(pair, (side) => [
    ...["openvpn", "--dev", DEVICE, "--dev-type", "tun", "--data-ciphers", "AES-128-GCM", "--disable-dco"],
    // Bigger buffers than its defaults: without them it loses the flood before it has read it.
    ...["--sndbuf", "4194304", "--rcvbuf", "4194304", "--txqueuelen", "1000"],
    ...["--ifconfig", INNER[side], INNER[other(side)], "--cert", `${dir}/${side}.crt`, "--key", `${dir}/${side}.key`],
    ...["--peer-fingerprint", fingerprint[other(side)]],
    ...(side === "left"
      ? ["--local", OUTER.left.v4, "--tls-server", "--dh", "none"]
      : ["--remote", OUTER.left.v4, "--tls-client"]),
  ]);
}

async function startFastd(pair: Pair, dir: string): Promise<Program[]> {
  const keys = {} as Record<Side, { secret: string; public: string }>;
  for (const side of SIDES) {
    const text = await must(["fastd", "--generate-key"]);
    const find = (name: string) => new RegExp(`${name}: (\\w+)`).exec(text)?.[1] ?? "";
    keys[side] = { secret: find("Secret"), public: find("Public") };
  }
  for (const side of SIDES) {
    const remote = `key "${keys[other(side)].public}"; remote ${OUTER[other(side)].v4}:10000;`;
    const lines = [
      `log level warn; mode tun; interface "${DEVICE}"; method "aes128-ctr+umac"; mtu 1400;`,
      `bind ${OUTER[side].v4}:10000; secret "${keys[side].secret}"; peer "other" { ${remote} }`,
      `on up "ip addr add ${INNER[side]}/24 dev ${DEVICE}; ip link set ${DEVICE} up";`,
    ];
    await writeFile(`${dir}/${side}.conf`, `${lines.join("\n")}\n`, { mode: 0o600 });
  }
  return startBoth(pair, (side) => ["fastd", "-c", `${dir}/${side}.conf`]);
}

const routed = (side: Side): string[] => ["-R", `${INNER[other(side)]}/32`];

/** In the order of the report. */
export const peers: readonly Peer[] = [
  { name: "raw", needs: [], help: "the bare veth pair, no tunnel", target: OUTER.right.v4, start: async () => [] },
  classic("anytun", "anytun", "aes-ctr-128, sha1/10", (side) => [...AES, ...routed(side)]),
  classic("anytun-null", "anytun", "no cipher, no authentication", (side) => [...NULL, ...routed(side)]),
  classic("uanytun", "uanytun", "aes-ctr-128, sha1/10", () => AES),
  {
    name: "openvpn",
    needs: ["openvpn", "openssl"],
    help: "AES-128-GCM in user space, 4 MB socket buffers",
    target: INNER.right,
    start: startOpenvpn,
  },
  { name: "fastd", needs: ["fastd"], help: "aes128-ctr+umac, tun mode", target: INNER.right, start: startFastd },
  ours("ours", "anyhop classic, aes-ctr-128, sha1/10", AES),
  ours("ours-null", "anyhop classic, no cipher, no authentication", NULL),
];

/** Makes the directory of one run and starts both ends in it. */
export async function startPeer(peer: Peer, pair: Pair, dir: string): Promise<Program[]> {
  await mkdir(dir, { recursive: true });
  return peer.start(pair, dir);
}

/** Processor time in clock ticks (1/100 s) and peak memory in KiB of the programs and of all their children. */
export async function usage(programs: readonly Program[]): Promise<{ ticks: number; peakKb: number }> {
  let ticks = 0;
  let peakKb = 0;
  const visit = async (pid: number): Promise<void> => {
    try {
      const stat = await readFile(`/proc/${pid}/stat`, "utf8");
      // The name in parentheses may hold blanks: fields are counted from behind it, utime and stime are 14 and 15.
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      ticks += Number(fields[11]) + Number(fields[12]);
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
