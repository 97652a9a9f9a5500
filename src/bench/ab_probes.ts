/**
 * What the A/B comparison measures. A probe is one command of a checkout's own programs, run in that checkout, and how its
 * output is read. So any older build that has the command can be compared, whatever its files and formats look like.
 */

/** One figure of a probe. */
export interface AbFigure {
  /** Unique among all probes. */
  readonly name: string;
  readonly better: "more" | "less";
  /** Least (better more) or greatest (better less) ratio new / old of which we say "not slower". */
  readonly bound: number;
  /** Undefined: the output does not have it. */
  readonly read: (output: string) => number | undefined;
}

export interface AbProbe {
  readonly name: string;
  readonly help: string;
  /** Arguments of node, from the checkout's root. `file`: an empty file for results; what it holds afterwards is the output. */
  readonly args: (file: string) => readonly string[];
  /** Whether the output is the file's content instead of standard output. */
  readonly toFile: boolean;
  /** Status 1 of the program only says that one of its own goals was missed. */
  readonly mayMiss: boolean;
  /** Expected seconds of one run. */
  readonly seconds: number;
  readonly figures: readonly AbFigure[];
}

/** What the programs print as JSON, as far as it is read here. */
interface BenchFile {
  readonly endToEnd?: { readonly results: readonly Readonly<Record<string, unknown>>[] };
}
interface LabOutput {
  readonly gaps?: { readonly p50: number } | null;
  readonly numbers?: readonly { readonly name: string; readonly measured: number | null }[];
}

function parse<T>(output: string): T | undefined {
  try {
    return JSON.parse(output) as T;
  } catch {
    return undefined;
  }
}

const finite = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) ? value : undefined;

const ofSession = (key: string) => (output: string) => finite(parse<BenchFile>(output)?.endToEnd?.results[0]?.[key]);

const coresPerGbit = (output: string): number | undefined => {
  const [cores, mbps] = [ofSession("daemonCores")(output), ofSession("tcpMbps")(output)];
  return cores === undefined || mbps === undefined || mbps === 0 ? undefined : (cores * 1000) / mbps;
};

/** The first number of the line that begins with `label`. */
const ofLine = (label: string) => (output: string) => {
  const line = output.split("\n").find((one) => one.startsWith(`${label}: `));
  return line === undefined ? undefined : finite(Number.parseFloat(line.slice(label.length + 2)));
};

const medianGap = (output: string) => finite(parse<LabOutput>(output)?.gaps?.p50);
const ofNumber = (name: string) => (output: string) =>
  finite(parse<LabOutput>(output)?.numbers?.find((number) => number.name === name)?.measured);

const THROUGHPUT = 0.98;
const HANDSHAKES = 0.95;
/** Medians of times from run to run differ by this much on one build. */
const TIMES = 1.05;

const lab = (name: string, help: string, seconds: number, figures: readonly AbFigure[]): AbProbe => ({
  ...{ name, help, toFile: false, mayMiss: true, seconds, figures },
  args: () => ["--single-threaded-gc", "dist/lab/main.js", "--scenario", name, "--json"],
});

/** In the order in which a round runs them. */
export const abProbes: readonly AbProbe[] = [
  {
    name: "speed",
    help: "one session between two namespaces: TCP, UDP, idle round trip",
    args: (file) => [
      ...["dist/bench/main.js", "--only", "end-to-end", "--peers", "ours-session", "--rounds", "1", "--seconds", "3"],
      ...["--no-write", "--json", file],
    ],
    ...{ toFile: true, mayMiss: false, seconds: 16 },
    figures: [
      { name: "one TCP stream, Mbit/s", better: "more", bound: THROUGHPUT, read: ofSession("tcpMbps") },
      { name: "UDP of 64 bytes, kpps", better: "more", bound: THROUGHPUT, read: ofSession("udp64Kpps") },
      { name: "UDP of 1300 bytes, Mbit/s", better: "more", bound: THROUGHPUT, read: ofSession("udp1300Mbps") },
      { name: "idle round trip, ms", better: "less", bound: TIMES, read: ofSession("rttMs") },
      { name: "processor cores per Gbit/s", better: "less", bound: 1 / THROUGHPUT, read: coresPerGbit },
    ],
  },
  {
    name: "handshakes",
    help: "handshakes per second of the node's processor time",
    args: () => ["dist/bench/main.js", "handshakes", "--clients", "2000", "--rounds", "1"],
    ...{ toFile: false, mayMiss: false, seconds: 12 },
    figures: [
      {
        ...{ name: "first contacts per second of processor time", better: "more", bound: HANDSHAKES },
        read: ofLine("first contacts, a second of processor time"),
      },
      {
        ...{ name: "rekeys per second of processor time", better: "more", bound: HANDSHAKES },
        read: ofLine("rekeys, a second of processor time"),
      },
    ],
  },
  lab("flip", "100 route changes between living nodes", 60, [
    { name: "flip: median gap, ms", better: "less", bound: TIMES, read: medianGap },
  ]),
  lab("kill", "owners killed with kill -9", 90, [
    { name: "kill: median gap, ms", better: "less", bound: TIMES, read: medianGap },
  ]),
  lab("storm", "10,000 sessions change their node at once", 60, [
    {
      ...{ name: "storm: last session served, ms", better: "less", bound: TIMES },
      read: ofNumber("last session served after, ms"),
    },
  ]),
];
