/**
 * The anycast lab at work: everything that runs in it, and what can be done to it. Built and removed by `runGroupLab`;
 * scenarios act on it and measure. Every act goes on the time-line.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { formatKey } from "../control/text/keys/key_text.ts";
import { crowdAddressText, crowdPair } from "../crowd/order.ts";
import { type Preferences, Router } from "./bird.ts";
import { Capture } from "./capture.ts";
import { Daemons } from "./daemons.ts";
import { counterTotals } from "./group_counters.ts";
import { type GroupResult, gapsOf, type LabEvent, type LabNumber, toMicros } from "./group_result.ts";
import {
  CLIENTS,
  type ClientName,
  cableOf,
  cutCommands,
  NODES,
  type NodeName,
  ROUTER,
  SERVER,
  SERVER4,
  SERVER6,
  SERVICE4,
  SERVICE6,
  type SourceName,
  STORM_FIRST,
  steeringCommands,
} from "./group_topology.ts";
import { makeDirectory, run, sweep, sweepLeftovers } from "./host.ts";
import { preferenceFile, Services } from "./services.ts";
import { type LabState, reportsOf } from "./state.ts";
import { STREAM_PORT } from "./stream_format.ts";
import { type StreamCount, Streams, type StreamWay } from "./streams.ts";
import { birdSocket, PORT, setUpCommands } from "./topology.ts";
import { type Arrival, Wire } from "./wire.ts";

const READY_MS = 30_000;
const SETTLE_MS = 1500;
/** Every stream has reported its last packets by then. */
const REPORTS_MS = 700;
const STATUS_MS = 500;
const CLOCK_MS = 250;
const EVENTS_MAX = 5000;

/** Where everybody goes at first. */
const FIRST: Preferences = { c1: "n1", c2: "n1", c3: "n1", s: "n1", x: "n3" };

export const WAYS: readonly StreamWay[] = [
  { id: 1, from: "c1", to: SERVER, address: SERVER4 },
  { id: 2, from: "c2", to: SERVER, address: SERVER4 },
  { id: 3, from: "c3", to: SERVER, address: SERVER4 },
  { id: 4, from: "c1", to: SERVER, address: SERVER6 },
  { id: 5, from: "c2", to: SERVER, address: SERVER6 },
  { id: 6, from: SERVER, to: "c1", address: "10.9.0.2" },
  { id: 7, from: "c1", to: "c2", address: "10.9.0.3" },
  { id: 8, from: "c2", to: "c3", address: "fd00:9::4" },
  // TCP; no datagrams.
  { id: 9, from: "c1", to: SERVER, address: SERVER4 },
];
const BACKGROUND_PPS = 50;
const BACKGROUND_BYTES = 200;
const TCP_WAY = 9;
/** Streams that run in every scenario, a few packets a second each. */
const USED = WAYS.filter(({ id }) => id !== TCP_WAY);
const TCP_BYTES_PER_SECOND = 250_000;

/** The stream from this client to the server that a scenario sends fast in. */
export const streamFrom = (client: ClientName): number => CLIENTS.indexOf(client) + 1;

/** Wall clock in milliseconds, finer than Date.now(), the same as the capture's. */
export const wallMs = (): number => performance.timeOrigin + performance.now();

export interface Scenario {
  /** Seconds that its numbers take; undefined: as long as somebody watches. */
  readonly seconds: number | undefined;
  readonly secondsMin: number;
  /** How many clients the nodes know beside the three. */
  readonly extraClients?: (seconds: number) => number;
  /** It measures milliseconds: daemons are asked how they are when it says so (`look`), which is work for them. */
  readonly looks?: boolean;
  /** For --help, in one line. */
  readonly help: string;
  /** `seconds`: undefined until `signal`. */
  run(lab: GroupLab, seconds: number | undefined, signal: AbortSignal): Promise<LabNumber[]>;
}

export class GroupLab {
  readonly state: LabState;
  readonly directory: string;
  /** Of everything that this run draws from one word. */
  readonly seed = randomBytes(16).toString("hex");
  readonly daemons: Daemons;
  readonly services: Services;
  readonly router: Router;
  readonly streams: Streams;
  readonly events: LabEvent[] = [];
  readonly wire: Wire;
  /** Asks all daemons how they are and what they have counted; what is killed before is not counted. */
  look: () => Promise<void> = async () => {};
  /** What the scenario does when a key is pressed. */
  onKey: (key: string) => void = () => {};
  readonly #before = new Map<number, StreamCount>();
  #capture: Capture | undefined;
  #startMs = wallMs();

  constructor(state: LabState, extraClients: number) {
    this.state = state;
    this.directory = makeDirectory();
    this.services = new Services(state, this.directory, FIRST);
    const extra = Array.from({ length: extraClients }, (_, n) => {
      const publicKey = formatKey(crowdPair(this.seed, n).publicKey);
      return { name: `storm${n}`, publicKey, addresses: [crowdAddressText(STORM_FIRST, n)] };
    });
    this.daemons = new Daemons(state, this.directory, extra);
    this.router = new Router(birdSocket(`${this.directory}/${ROUTER}`), preferenceFile(this.directory), FIRST);
    this.streams = new Streams(state, WAYS);
    this.wire = new Wire({
      links: linkNumbers(this.state.namespaces.get(ROUTER)!),
      clients: new Map(
        CLIENTS.flatMap((client) => {
          const { place4, place6 } = cableOf(client);
          return [place4, place6].map((address) => [hexOf(address), client] as const);
        }),
      ),
      senders: new Map(WAYS.map(({ id, from }) => [id, from])),
    });
    this.wire.onArrival((arrival) => this.#through(arrival));
  }

  /** Until every client's packets come out of a node, and every node is announced. */
  async ready(signal: AbortSignal): Promise<void> {
    const services = `dst host ${SERVICE4} or dst host ${SERVICE6}`;
    const outer = `(outbound and dst port ${PORT} and (${services}))`;
    const inner = `(inbound and dst port ${STREAM_PORT} and (dst host ${SERVER4} or dst host ${SERVER6}))`;
    this.#capture = await Capture.live(this.state, ROUTER, `udp and (${outer} or ${inner})`, (packet) =>
      this.wire.take(packet),
    );
    await this.daemons.ready(signal);
    this.state.phase = "waiting for BGP and for every client";
    await this.until("not every node is announced", async () => (await this.announced(NODES)) || undefined, signal);
    for (const { id } of USED) this.streams.send(id, BACKGROUND_PPS, BACKGROUND_BYTES);
    const silent = () => USED.filter(({ id }) => this.streams.count(id).received === 0);
    await this.until("not every stream comes through", () => (silent().length === 0 ? true : undefined), signal);
    // What was lost before the sessions were there is nobody's loss.
    for (const { id } of USED) this.streams.stop(id);
    await pause(REPORTS_MS, undefined, { signal });
    for (const { id } of USED) {
      this.#before.set(id, this.streams.count(id));
    }
    for (const { id } of USED) this.streams.send(id, BACKGROUND_PPS, BACKGROUND_BYTES);
    this.#startMs = wallMs();
    this.streams.connect(TCP_WAY, TCP_BYTES_PER_SECOND);
  }

  /** What was sent and received in this stream since measuring began. */
  count(id: number): StreamCount {
    const { sent, received, duplicates, done } = this.streams.count(id);
    const before = this.#before.get(id);
    return {
      ...{ sent: sent - (before?.sent ?? 0), received: received - (before?.received ?? 0) },
      ...{ duplicates: duplicates - (before?.duplicates ?? 0), done },
    };
  }

  /** Ends the streams, the programs that send and count, and the watch: for numbers that need all of the machine. */
  async endTraffic(signal: AbortSignal): Promise<void> {
    for (const { id } of USED) this.streams.stop(id);
    await pause(REPORTS_MS, undefined, { signal });
    await this.streams.end();
    await this.#endCapture();
  }

  press(key: string): void {
    this.onKey(key);
  }

  /** Milliseconds of measuring. */
  get nowMs(): number {
    return wallMs() - this.#startMs;
  }

  note(event: Omit<LabEvent, "atMs">, atWallMs = wallMs()): void {
    if (this.events.length < EVENTS_MAX) this.events.push({ atMs: toMicros(atWallMs - this.#startMs), ...event });
  }

  #through({ client, to, atMs, throughMs }: Arrival): void {
    this.note({ what: "through", client, node: to, gapMs: toMicros(throughMs! - atMs) }, throughMs);
  }

  /** Sends the packets of these sources to `node`, as far as it is announced. */
  async flip(sources: readonly SourceName[], node: NodeName): Promise<void> {
    for (const source of sources) this.note({ what: "flip", client: source, node });
    await this.router.prefer(Object.fromEntries(sources.map((source) => [source, node])));
  }

  async kill(node: NodeName): Promise<void> {
    this.note({ what: "kill", node });
    await this.daemons.kill(node);
  }

  /** Starts a killed node again; resolves when the router knows it and it answers. */
  async start(node: NodeName, signal: AbortSignal): Promise<void> {
    this.note({ what: "start", node });
    this.daemons.start(node);
    const back = async () => ((await this.daemons.answers(node)) && (await this.announced([node]))) || undefined;
    await this.until(`${node} does not come back`, back, signal);
    this.note({ what: "up", node });
  }

  /** Drains a node as `anyhop drain` does, waits until it is withdrawn, and lets it serve again. */
  async drainAndReturn(node: NodeName, maxS: number, signal: AbortSignal): Promise<void> {
    this.note({ what: "drain", node });
    await this.daemons.question(node, "drain", { maxS, exit: false });
    const wish = async () => (await this.daemons.question(node, "announcement", {})).wish;
    await this.until(`${node} is not drained`, async () => (await wish()) === "drained" || undefined, signal);
    this.note({ what: "drained", node });
    await this.daemons.question(node, "undrain", {});
    await this.until(`${node} is not announced`, async () => (await this.announced([node])) || undefined, signal);
    this.note({ what: "undrained", node });
  }

  cut(nodes: readonly NodeName[]): void {
    for (const node of nodes) this.note({ what: "cut", node });
    for (const command of cutCommands(this.state.namespaces.get(ROUTER)!, nodes, "add")) run(command);
  }

  heal(nodes: readonly NodeName[]): void {
    for (const node of nodes) this.note({ what: "heal", node });
    for (const command of cutCommands(this.state.namespaces.get(ROUTER)!, nodes, "del")) run(command);
  }

  async announced(nodes: readonly NodeName[]): Promise<boolean> {
    const known = await this.router.announcing();
    return nodes.every((node) => known.has(node));
  }

  /** Waits for `met` to give something. Throws with `otherwise` after `ms`, or when the lab is stopped. */
  async until<T>(
    otherwise: string,
    met: () => T | undefined | Promise<T | undefined>,
    signal: AbortSignal,
    ms = READY_MS,
  ): Promise<T> {
    const end = performance.now() + ms;
    for (;;) {
      signal.throwIfAborted();
      const value = await met();
      if (value !== undefined) return value;
      if (performance.now() > end) throw new Error(`The lab waited ${ms / 1000} s in vain: ${otherwise}.`);
      await pause(10);
    }
  }

  /** Arrivals of `client` at another node at `sinceMs` (wall) or later. */
  arrivals(client: string, sinceMs: number): Arrival[] {
    return this.wire.arrivals.filter((one) => one.client === client && one.atMs >= sinceMs && one.from !== undefined);
  }

  async end(): Promise<void> {
    this.router.close();
    await this.streams.end();
    await this.#endCapture();
    await this.daemons.end();
    await this.services.end();
  }

  async #endCapture(): Promise<void> {
    const dropped = (await this.#capture?.end()) ?? 0;
    this.#capture = undefined;
    if (dropped > 0) this.state.problems.push(`tcpdump was too slow for ${dropped} packets: losses are not the lab's.`);
  }
}

/** Number of each link at the router -> its name. */
function linkNumbers(namespace: string): ReadonlyMap<number, string> {
  const links = JSON.parse(run(["ip", "-n", namespace, "-j", "link"])) as { ifindex: number; ifname: string }[];
  return new Map(links.map(({ ifindex, ifname }) => [ifindex, ifname]));
}

/** An address as the capture has it. Only what the topology gives: dotted IPv4, and IPv6 with one "::". */
function hexOf(address: string): string {
  if (!address.includes(":")) return Buffer.from(address.split(".").map(Number)).toString("hex");
  const [head = "", tail = ""] = address.split("::").map((half) =>
    half
      .split(":")
      .filter(Boolean)
      .map((word) => word.padStart(4, "0"))
      .join(""),
  );
  return head.padEnd(32 - tail.length, "0") + tail;
}

/** Runs the lab with one scenario. Whatever goes wrong becomes a problem in the result; everything made is removed. */
export async function runGroupLab(
  state: LabState,
  name: string,
  scenario: Scenario,
  seconds: number | undefined,
  signal: AbortSignal,
  watch: (lab: GroupLab) => void,
): Promise<GroupResult> {
  let lab: GroupLab | undefined;
  let numbers: readonly LabNumber[] = [];
  let counts = counterTotals([], 0);
  try {
    state.phase = "making namespaces and links";
    sweepLeftovers();
    const nameOf = (place: string) => state.namespaces.get(place)!;
    const commands = [setUpCommands(state.topology, nameOf), steeringCommands(nameOf(ROUTER))];
    for (const command of commands.flat()) {
      signal.throwIfAborted();
      run(command);
      await pause(0);
    }
    state.phase = "starting BIRD, NATS and daemons";
    lab = new GroupLab(state, scenario.extraClients?.(seconds ?? 0) ?? 0);
    watch(lab);
    await lab.ready(signal);
    state.phase = name;
    const polling = poll(lab, scenario.looks !== true);
    try {
      numbers = await scenario.run(lab, seconds, signal);
    } finally {
      counts = await polling();
      state.elapsedMs = lab.nowMs;
    }
    for (const { id } of WAYS) lab.streams.stop(id);
    await pause(SETTLE_MS);
  } catch (error) {
    if (!signal.aborted) state.problems.push(error instanceof Error ? error.message : String(error));
    else if (lab === undefined || numbers.length === 0) state.problems.push("Stopped before it was measured.");
  }
  state.phase = "removing everything";
  const sums = { sent: 0, lost: 0, replayed: 0 };
  for (const { id } of lab === undefined ? [] : WAYS) {
    const { sent, received, duplicates } = lab!.count(id);
    sums.sent += sent;
    sums.lost += sent - received;
    sums.replayed += duplicates;
  }
  const tcp = lab?.streams.tcp();
  if (tcp !== undefined) for (const problem of tcp.problems) state.problems.push(`TCP inside the tunnel: ${problem}.`);
  await lab?.end();
  sweep((pid) => pid === process.pid);
  const through = (lab?.wire.arrivals ?? []).filter(({ from }) => from !== undefined);
  const gaps = through.flatMap(({ atMs, throughMs }) => (throughMs === undefined ? [] : [toMicros(throughMs - atMs)]));
  return {
    ok: state.problems.length === 0 && numbers.length > 0 && numbers.every(({ ok }) => ok),
    ...{ version: state.version, lab: state.topology.title, scenario: name },
    seconds: Math.round(state.elapsedMs / 10) / 100,
    gaps: gapsOf(gaps),
    ...sums,
    ...counts,
    numbers,
    events: lab?.events ?? [],
    drops: reportsOf(state)
      .flatMap((report) => report.drops)
      .sort((a, b) => b.count - a.count),
    problems: state.problems,
  };
}

/**
 * Asks the daemons again and again (`often`), or when the scenario looks; the returned function does so once more and
 * gives what the nodes counted.
 */
function poll(lab: GroupLab, often: boolean): () => Promise<ReturnType<typeof counterTotals>> {
  const seen = new Map<string, ReadonlyMap<string, number>>();
  const resumed = new Set<string>();
  let going = true;
  const clock = setInterval(() => {
    lab.state.elapsedMs = lab.nowMs;
  }, CLOCK_MS);
  const round = async () => {
    await lab.daemons.ask();
    for (const client of CLIENTS)
      for (const id of lab.state.daemons.get(client)?.resumed ?? []) resumed.add(`${client} ${id}`);
    for (const node of NODES) {
      const pid = lab.state.daemons.get(node)?.pid;
      if (pid === undefined) continue;
      try {
        const { counters } = await lab.daemons.question(node, "counters", {});
        seen.set(`${node} ${pid}`, new Map(counters.map(({ name, count }) => [name, count])));
      } catch {
        // Killed in between: its last counters stay.
      }
    }
  };
  lab.look = round;
  const loop = (async () => {
    while (going) {
      if (often) await round();
      await pause(STATUS_MS);
    }
  })();
  return async () => {
    going = false;
    clearInterval(clock);
    await loop;
    await round();
    return counterTotals([...seen.values()], resumed.size);
  };
}
