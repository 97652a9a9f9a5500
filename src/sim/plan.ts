/**
 * What happens in one run, drawn from its seed: how bad each path is, whose catchment moves how often, and what breaks
 * when. Plain values; nothing here acts.
 */
import { Prng } from "../base/prng.ts";

/** How bad a path is. Delays are drawn between the two, so datagrams overtake each other. */
export interface Weather {
  /** Parts of one. */
  readonly loss: number;
  readonly doubled: number;
  readonly minMs: number;
  readonly maxMs: number;
}

export const FAIR: Weather = { loss: 0, doubled: 0, minMs: 0.2, maxMs: 1 };

export type Fault =
  /** One way between two nodes: node link, engine, or both. */
  | { readonly kind: "cut"; readonly from: number; readonly to: number; readonly what: "link" | "bus" | "both" }
  /** Nothing of this client reaches the service, or nothing of the service reaches it. */
  | { readonly kind: "deaf" | "mute"; readonly client: number }
  | { readonly kind: "engine_down"; readonly node: number }
  /** kill -9. Its memory is lost; its disk, too, unless it is kept. */
  | { readonly kind: "crash"; readonly node: number; readonly disk: "kept" | "lost" }
  /** Drained, its windows handed over, stopped. */
  | { readonly kind: "drain"; readonly node: number }
  | { readonly kind: "client_crash"; readonly client: number; readonly disk: "kept" | "lost" }
  /** Another outer port from here on, as behind a NAT that forgot. */
  | { readonly kind: "rebind"; readonly client: number }
  /** All catchments move to this node, as when routes change. */
  | { readonly kind: "attract"; readonly node: number };

export interface Incident {
  readonly atMs: number;
  /** Until it is mended, ms. */
  readonly forMs: number;
  readonly fault: Fault;
}

export interface ClientPlan {
  /** Its catchment moves at each packet with this chance, 0 = never; 1: each packet elsewhere. */
  readonly flipChance: number;
  /** Mean time between its packets, ms; some go out in bursts. */
  readonly everyMs: number;
  readonly skewMs: number;
}

export interface Plan {
  readonly seed: number;
  readonly nodes: readonly { readonly startMs: number; readonly skewMs: number }[];
  readonly clients: readonly ClientPlan[];
  /** Client and service, node link, engine. */
  readonly weather: { readonly access: Weather; readonly link: Weather; readonly bus: Weather };
  /** From a shard to its control thread, and back. */
  readonly threadMs: number;
  readonly rekeyMs: number;
  readonly overlapMs: number;
  /** From a crash until routes no longer lead there. */
  readonly withdrawMs: number;
  /** Mean time between replays, ms; 0 = nobody replays. */
  readonly replayEveryMs: number;
  /** Mean time between datagrams that a stranger makes up in the name of a client, ms; 0 = there is none. */
  readonly strangerEveryMs: number;
  readonly forMs: number;
  readonly incidents: readonly Incident[];
}

/**
 * Measured: about 1 % of vantage points are unstable, some at every query; 0.15 % of TCP connections meet a flip (Wei and
 * Heidemann 2018). Half of all runs draw from that, where flips come from incidents; the others have unstable clients only.
 */
const UNSTABLE = 0.01;
const FLIPPED_CONNECTIONS = 0.0015;
/** Packets of a connection, to make a chance per packet of a chance per connection. */
const CONNECTION_PACKETS = 100;
const UNSTABLE_EVERY = [1, 2, 3, 5, 10, 25, 50, 100];

/** `forMs`: how long things break; undefined: as drawn. */
export function planOf(seed: number, forMs?: number): Plan {
  const prng = new Prng(seed);
  const unit = () => prng.nextU32() / 2 ** 32;
  const between = (low: number, high: number) => low + (high - low) * unit();
  const pick = <T>(list: readonly T[]): T => list[prng.nextBelow(list.length)];
  const chance = (part: number) => unit() < part;
  const weather = (): Weather => {
    const kind = pick(["fair", "fair", "usual", "usual", "bad"]);
    if (kind === "fair") return FAIR;
    const worst = kind === "bad" ? 1 : 0.1;
    const minMs = between(0.1, 3);
    const maxMs = minMs + between(0, 60) * worst * unit();
    return { loss: between(0, 0.3) * worst * unit(), doubled: between(0, 0.2) * worst * unit(), minMs, maxMs };
  };
  const nodes = Array.from({ length: chance(0.15) ? 4 : 3 }, (_, k) => ({
    startMs: k === 0 || chance(0.7) ? between(0, 200) : between(0, 3000),
    skewMs: chance(0.5) ? 0 : between(-180_000, 180_000),
  }));
  const isMeasured = chance(0.5);
  const clients = Array.from({ length: 2 + prng.nextBelow(3) }, (): ClientPlan => {
    const unstable = isMeasured ? chance(UNSTABLE) : chance(0.7);
    const stable = isMeasured ? FLIPPED_CONNECTIONS / CONNECTION_PACKETS : 0;
    return {
      flipChance: unstable ? 1 / pick(UNSTABLE_EVERY) : stable,
      everyMs: pick([10, 30, 60, 150]),
      skewMs: chance(0.7) ? 0 : between(-300_000, 300_000),
    };
  });
  const longMs = forMs ?? between(4000, 8000);
  const node = () => 1 + prng.nextBelow(nodes.length);
  const client = () => prng.nextBelow(clients.length);
  const fault = (): Fault => {
    const disk = chance(0.4) ? "kept" : "lost";
    const from = node();
    const to = 1 + ((from + prng.nextBelow(nodes.length - 1)) % nodes.length);
    return pick<() => Fault>([
      () => ({ kind: "cut", from, to, what: pick(["link", "bus", "both"]) }),
      () => ({ kind: "cut", from, to, what: pick(["link", "bus", "both"]) }),
      () => ({ kind: pick(["deaf", "mute"]), client: client() }),
      () => ({ kind: "engine_down", node: node() }),
      () => ({ kind: "crash", node: node(), disk }),
      () => ({ kind: "crash", node: node(), disk }),
      () => ({ kind: "drain", node: node() }),
      () => ({ kind: "client_crash", client: client(), disk }),
      () => ({ kind: "rebind", client: client() }),
      () => ({ kind: "attract", node: node() }),
      () => ({ kind: "attract", node: node() }),
    ])();
  };
  const count = prng.nextBelow(2 + Math.round(longMs / 800));
  const incidents = Array.from({ length: count }, (): Incident => {
    const atMs = between(800, longMs);
    return { atMs, forMs: between(50, Math.max(100, Math.min(3000, longMs - atMs))), fault: fault() };
  });
  const drawnWeather = { access: weather(), link: weather(), bus: weather() };
  const drawn = {
    threadMs: pick([0, 0.05, 0.05, 0.5]),
    rekeyMs: pick([120_000, 120_000, 4000, 1500]),
    overlapMs: pick([30_000, 2000]),
    withdrawMs: between(0, 1500),
    replayEveryMs: chance(0.8) ? pick([5, 20, 100]) : 0,
  };
  return {
    ...{ seed, nodes, clients, forMs: longMs },
    ...{ weather: drawnWeather, ...drawn },
    // Drawn last: what else a seed means stays as it was.
    strangerEveryMs: chance(0.3) ? pick([1, 2, 5]) : 0,
    incidents: incidents.sort((a, b) => a.atMs - b.atMs),
  };
}
