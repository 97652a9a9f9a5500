/**
 * Keeps the addresses and routes of a device as they were asked for. It compares what is wanted with what the kernel has: when a
 * wish changes, when the kernel tells of a change, and every 15 s, since the kernel's events may be lost. It sets again what
 * somebody removed, at a limited rate, and tells what it can't or must not set. It never replaces what others have set.
 */
import type { Clock } from "../../base/clock.ts";
import { AnyhopError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { MTU_DEFAULT } from "../spec/instance.ts";
import type { HostFacts, HostItem, HostJournal, HostNetwork } from "../spec/ports.ts";
import {
  bestWay,
  familyOfWish,
  hasFamily,
  isThere,
  networkOf,
  overlapOf,
  sampleOf,
  sentence,
  type Wish,
  wishKey,
} from "./host_items.ts";

/** Time between two looks at the kernel when no event comes. */
const LOOK_MS = 15_000;
/** Shortest time between two looks on events, when the last look found everything in order. */
const GAP_MS = 1000;
/**
 * Items that may be set again at once, and the time until one more may. Another program that removes them again and again must
 * not keep us busy.
 */
const RESTORES_MAX = 20;
const RESTORE_EACH_MS = 3000;
/** Most routes for which the kernel is asked, one by one, by which device packets leave. */
const SAMPLES_MAX = 16;
/**
 * The order in which items are set. The kill switch (unreachable) comes early, so that nothing leaves in clear while the rest is
 * missing.
 */
const ORDER: readonly Wish["kind"][] = ["pin", "unreachable", "link", "address", "route"];

/** A change of this host and how it is now, by what the kernel says. */
export interface HostChange {
  /** "route 10.9.0.0/24 via tun0". */
  readonly what: string;
  /** restored: it is there, and was set again since the start; left_out: the host has nothing of this family. */
  readonly state: "ok" | "restored" | "missing" | "left_out";
  /** Milliseconds since 1970 at which this state began. */
  readonly sinceMs: number;
  /** Why it is missing or left out. */
  readonly why: string | null;
  /** How often somebody removed it and it was set again, and when last. */
  readonly restored: number;
  readonly restoredMs: number | null;
}

export interface Kept extends HostChange {
  readonly wish: Wish;
  /**
   * Packets for this route leave by another device. The kill switch does not stop them, since that other route is the better
   * one.
   */
  readonly elsewhere: boolean;
}

/** The part of `Kept` that is shown in `status`. */
export const changeOf = ({ wish: _, elsewhere: __, ...change }: Kept): HostChange => change;

export interface HostKeeperPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly host: HostNetwork;
  /** Where items are written down that would stay on the host after kill -9; undefined: there are none of these. */
  readonly journal: HostJournal | undefined;
  /** In front of every line of the log, "Service node". */
  readonly label: string;
}

interface Entry {
  wish: Wish;
  state: HostChange["state"] | undefined;
  sinceMs: number;
  why: string | null;
  restored: number;
  restoredMs: number | null;
  /** Of a pin that is there. */
  way: string | undefined;
  /** It was there, and somebody removed it. */
  lost: boolean;
  /** See Kept. */
  elsewhere: boolean;
}

export class HostKeeper {
  readonly #device: string;
  readonly #use: HostKeeperPorts;
  /** Wishes by the name that was given to `want`. */
  readonly #wishes = new Map<string, readonly Wish[]>();
  #entries = new Map<string, Entry>();
  /** Addresses and routes of the device that were wanted so far, by `wishKey`. */
  readonly #had = new Map<string, Extract<Wish, { kind: "address" | "route" }>>();
  /** Of the last look. */
  facts: HostFacts | undefined;
  #journal: readonly HostItem[];
  #tokens = RESTORES_MAX;
  #tokensMs: number;
  #running: Promise<void> = Promise.resolve();
  #waiting = false;
  #calm = false;
  #lookedMs = Number.NEGATIVE_INFINITY;
  #stopWatching: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Timeout | undefined;
  /** When `#soon` is due. */
  #dueMs = Number.POSITIVE_INFINITY;
  #stopped = false;
  #blind = false;

  constructor(device: string, ports: HostKeeperPorts) {
    this.#device = device;
    this.#use = ports;
    this.#journal = ports.journal?.read() ?? [];
    this.#tokensMs = ports.clock.monotonicMs();
  }

  /** Everything that is wanted, and how it is. */
  get kept(): readonly Kept[] {
    return [...this.#entries.values()].map((entry) => ({
      wish: entry.wish,
      elsewhere: entry.elsewhere,
      what: sentence(entry.wish, this.#device, entry.way),
      state: entry.state ?? "missing",
      ...{ sinceMs: entry.sinceMs, why: entry.why, restored: entry.restored, restoredMs: entry.restoredMs },
    }));
  }

  /** Wants these, and no others under this name any more. Resolves when it was tried once; see `kept`. */
  async want(name: string, wishes: readonly Wish[]): Promise<void> {
    this.#wishes.set(name, wishes);
    this.#watch();
    await this.#check();
    await this.#drop();
  }

  /** Removes addresses and routes that were wanted before and are not wanted any more. */
  async #drop(): Promise<void> {
    const { facts } = this;
    const wanted = new Set([...this.#wishes.values()].flat().map(wishKey));
    const old = [...this.#had.values()].filter((wish) => !wanted.has(wishKey(wish)));
    for (const wish of old) this.#had.delete(wishKey(wish));
    const gone = old.filter((wish) => facts !== undefined && isThere(wish, facts, this.#device));
    if (gone.length > 0) await this.#use.host.remove(gone);
  }

  /** Removes what an earlier start left on this host and nobody wants now. Call when all wishes are known. */
  async forget(kind?: HostItem["kind"]): Promise<void> {
    const wanted = new Set([...this.#wishes.values()].flat().map(wishKey));
    const old = this.#journal.filter((item) => !wanted.has(wishKey(item)) && (kind ?? item.kind) === item.kind);
    if (old.length === 0) return;
    await this.#use.host.remove(old);
    this.#write(this.#journal.filter((item) => !old.includes(item)));
  }

  /** Ends keeping. Removes what would stay behind, but for what `keeps`. */
  async stop(keeps: (item: HostItem) => boolean = () => false): Promise<void> {
    this.#stopped = true;
    this.#stopWatching?.();
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    await this.#running;
    const gone = this.#journal.filter((item) => !keeps(item));
    if (gone.length === 0) return;
    await this.#use.host.remove(gone);
    this.#write(this.#journal.filter(keeps));
  }

  #watch(): void {
    if (this.#stopWatching !== undefined || this.#stopped) return;
    this.#stopWatching = this.#use.host.watch(() => this.#changed());
    this.#timer = setInterval(() => void this.#check(), LOOK_MS);
    // The timer alone must not keep a process alive: the simulator's process ends when its work is done.
    this.#timer.unref();
  }

  /** Something on this host has changed, perhaps ours. */
  #changed(): void {
    const passed = this.#use.clock.monotonicMs() - this.#lookedMs;
    this.#checkIn(this.#calm ? Math.max(0, GAP_MS - passed) : 0);
  }

  /** Looks in `ms`, or earlier if that was asked for already. */
  #checkIn(ms: number): void {
    const dueMs = this.#use.clock.monotonicMs() + ms;
    if (this.#stopped || dueMs >= this.#dueMs) return;
    clearTimeout(this.#soon);
    this.#dueMs = dueMs;
    this.#soon = setTimeout(() => {
      this.#dueMs = Number.POSITIVE_INFINITY;
      void this.#check();
    }, ms);
  }

  /** Looks now. Only one look runs at a time, and at most one more waits for its end. */
  #check(): Promise<void> {
    if (this.#waiting) return this.#running;
    this.#waiting = true;
    this.#running = this.#running.then(async () => {
      this.#waiting = false;
      if (this.#stopped) return;
      await this.#compare().catch((error: Error) => this.#unseen(error.message));
    });
    return this.#running;
  }

  /** Nobody knows what the kernel has, so nothing is taken to be there. */
  #unseen(message: string): void {
    const { clock, label } = this.#use;
    const why = `what this host has can't be seen. ${message}`;
    if (!this.#blind) this.#warn(`${label}: ${why}`);
    this.#blind = true;
    this.#entries = this.#entriesOf([...this.#wishes.values()].flat());
    for (const entry of this.#entries.values()) {
      if (entry.state !== "missing") entry.sinceMs = clock.wallMs();
      Object.assign(entry, { state: "missing", why });
    }
    this.#checkIn(RESTORE_EACH_MS);
  }

  async #compare(): Promise<void> {
    const { clock, host } = this.#use;
    const wishes = [...this.#wishes.values()].flat();
    wishes.sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
    const all = wishes.some((wish) => wish.kind !== "link" && wish.kind !== "address" && !isNetwork(wish));
    const before = await host.look(this.#device, all);
    this.#lookedMs = clock.monotonicMs();
    this.#blind = false;
    this.#entries = this.#entriesOf(wishes);
    for (const wish of wishes) if (wish.kind === "address" || wish.kind === "route") this.#had.set(wishKey(wish), wish);
    const { add, remove } = this.#plan(before);
    this.#calm = add.length === 0 && remove.length === 0;
    if (remove.length > 0) await host.remove(remove);
    const said = add.length > 0 ? await this.#add(add.map(({ item }) => item)) : [];
    const complaints = new Map(add.map(({ entry }, k) => [entry, said[k]]));
    this.facts = this.#calm ? before : await host.look(this.#device, all);
    const detours = await this.#detours(this.facts);
    for (const entry of this.#entries.values()) {
      const overlapping = overlapOf(entry.wish, this.facts, this.#device);
      const detour = detours.get(entry);
      const why = overlapping ?? this.#whyNot(entry, this.facts, complaints.get(entry)) ?? detour ?? null;
      entry.elsewhere = overlapping !== undefined || detour !== undefined;
      if (why === null && entry.lost) {
        entry.lost = false;
        entry.restored++;
        entry.restoredMs = clock.wallMs();
        this.#use.log.notice("host_restored", this.#line(entry, `was removed by somebody, and is set again`));
      }
      this.#settle(entry, why, this.facts);
    }
    // No event comes when the limited rate allows the next item, so look again then.
    if ([...this.#entries.values()].some(({ lost }) => lost)) this.#checkIn(RESTORE_EACH_MS);
  }

  #entriesOf(wishes: readonly Wish[]): Map<string, Entry> {
    return new Map(wishes.map((wish) => [wishKey(wish), this.#entryOf(wish)]));
  }

  #entryOf(wish: Wish): Entry {
    const known = this.#entries.get(wishKey(wish));
    if (known !== undefined) return Object.assign(known, { wish });
    const sinceMs = this.#use.clock.wallMs();
    return {
      wish,
      state: undefined,
      sinceMs,
      why: null,
      restored: 0,
      restoredMs: null,
      way: undefined,
      lost: false,
      elsewhere: false,
    };
  }

  /** What is to be added and removed. */
  #plan(facts: HostFacts) {
    const add: { readonly entry: Entry; readonly item: HostItem }[] = [];
    const remove: HostItem[] = [];
    // The kernel makes the routes of their networks with the addresses.
    const lacksAddress = [...this.#entries.values()].some(
      ({ wish }) => wish.kind === "address" && !isThere(wish, facts, this.#device),
    );
    for (const entry of this.#entries.values()) {
      const { wish } = entry;
      const there = isThere(wish, facts, this.#device);
      if (wish.kind !== "pin" && overlapOf(wish, facts, this.#device) !== undefined) {
        if (there) remove.push(wish);
        continue;
      }
      if (there || (facts.device === undefined && "device" in wish) || (isNetwork(wish) && lacksAddress)) continue;
      const item = this.#itemOf(wish, facts);
      if (item === undefined) continue;
      // A pin that has to take another way, because the host's routes changed, was not removed by anybody.
      if (isSet(entry) && !(item.kind === "pin" && item.replaces)) entry.lost = true;
      if (!entry.lost || this.#mayRestore()) add.push({ entry, item });
    }
    return { add, remove };
  }

  #itemOf(wish: Wish, facts: HostFacts): HostItem | undefined {
    if (wish.kind !== "pin") return wish;
    const best = bestWay(facts.routes, wish.prefix, this.#device);
    const replaces = facts.routes.some((route) => route.own && route.prefix === wish.prefix);
    return best && { kind: "pin", prefix: wish.prefix, way: best.way, replaces };
  }

  /** Items that would outlive a killed process are written to the journal before they are set. */
  #add(items: readonly HostItem[]): Promise<readonly (string | undefined)[]> {
    const staying = items.filter(({ kind }) => kind === "unreachable" || kind === "pin");
    const known = new Set(this.#journal.map(wishKey));
    const news = staying.filter((item) => !known.has(wishKey(item)));
    if (news.length > 0) this.#write([...this.#journal, ...news]);
    return this.#use.host.add(items);
  }

  #write(items: readonly HostItem[]): void {
    this.#journal = items;
    this.#use.journal?.write(items);
  }

  /** Whether the limited rate allows one more item to be set again now; if so, it is counted. */
  #mayRestore(): boolean {
    const now = this.#use.clock.monotonicMs();
    const fresh = Math.floor((now - this.#tokensMs) / RESTORE_EACH_MS);
    this.#tokens = Math.min(RESTORES_MAX, this.#tokens + fresh);
    this.#tokensMs = this.#tokens === RESTORES_MAX ? now : this.#tokensMs + fresh * RESTORE_EACH_MS;
    if (this.#tokens === 0) return false;
    this.#tokens--;
    return true;
  }

  /** Why a wish is not fulfilled; undefined: it is. */
  #whyNot({ wish, restored, lost }: Entry, facts: HostFacts, complaint: string | undefined): string | undefined {
    if (isThere(wish, facts, this.#device)) return undefined;
    if (facts.device === undefined && "device" in wish) return `the device ${this.#device} is gone: start anyhop again`;
    if (familyOfWish(wish) === 6 && facts.ipv6Off)
      return `IPv6 is off on ${this.#device} (net.ipv6.conf.${this.#device}.disable_ipv6 is 1)`;
    if (wish.kind === "pin") return `no route of this host leads to ${wish.prefix.split("/")[0]}`;
    if (complaint !== undefined) return `the kernel says: ${complaint}`;
    if (!lost) return "it is not there";
    if (this.#tokens > 0) return "somebody removes it";
    return `something on this host removes it again and again, it was set again ${restored} times: look with ip monitor what does`;
  }

  /**
   * Routes that are there, but whose packets leave by another device: a rule of this host leads them there, or the network of our
   * address is also that of another device.
   */
  async #detours(facts: HostFacts): Promise<Map<Entry, string>> {
    const found = new Map<Entry, string>();
    const asked = [...this.#entries.values()].filter(
      ({ wish }) => wish.kind === "route" && (isNetwork(wish) || facts.rules.length > 0),
    );
    for (const entry of asked.slice(0, SAMPLES_MAX)) {
      const { wish } = entry;
      if (wish.kind !== "route" || !isThere(wish, facts, this.#device)) continue;
      const sample = sampleOf(wish.prefix);
      const beside = bestWay(facts.routes, sample, this.#device);
      if (beside !== undefined && lengthOf(beside.prefix) > lengthOf(wish.prefix)) continue;
      const device = await this.#use.host.deviceTo(sample);
      if (device === undefined || device === this.#device || device === "lo") continue;
      const why = isNetwork(wish)
        ? `packets to ${sample} leave by ${device}, not through the tunnel: give one of the two networks another prefix (pool of [node], or the network of ${device})`
        : `they leave by ${device}, because a rule of this host is asked before the routes: ${facts.rules.join(", ")}`;
      found.set(entry, why);
    }
    return found;
  }

  #settle(entry: Entry, why: string | null, facts: HostFacts): void {
    const { wish, state: before } = entry;
    const isLeftOut = familyOfWish(wish) === 6 && facts.ipv6Off && !hasFamily(facts, 6, this.#device);
    const good = entry.restored > 0 ? "restored" : "ok";
    const state = why === null ? good : isLeftOut ? "left_out" : "missing";
    if (wish.kind === "pin" && why === null) {
      const way = bestWay(facts.routes, wish.prefix, this.#device)?.way;
      const isMove = entry.way !== undefined && entry.way !== way;
      entry.way = way;
      if (isMove) {
        this.#use.log.notice("repinned", `${this.#use.label}: the way to the node is now ${wish.prefix} ${way}`);
        wish.moved();
      }
    }
    if (isSet(entry) && why !== null && !entry.elsewhere) entry.lost = true;
    if (state !== before) entry.sinceMs = this.#use.clock.wallMs();
    if (why !== entry.why && why !== null) {
      if (state === "left_out") this.#use.log.notice("host_left_out", this.#line(entry, `is left out: ${why}`));
      else this.#warn(this.#line(entry, `is missing: ${why}`));
    }
    if (before === "missing" && why === null) this.#use.log.notice("host_set", this.#line(entry, "is there now"));
    entry.state = state;
    entry.why = why;
  }

  #line(entry: Entry, what: string): string {
    return `${this.#use.label}: ${sentence(entry.wish, this.#device, entry.way)} ${what}`;
  }

  #warn(message: string): void {
    this.#use.log.warning("host", message);
  }
}

/** The route that the kernel makes with an address of ours. */
const isNetwork = (wish: Wish): boolean => wish.kind === "route" && wish.network === true;
const isSet = ({ state }: Entry): boolean => state === "ok" || state === "restored";
const lengthOf = (prefix: string): number => Number(prefix.split("/")[1]);

/**
 * Wants a device with addresses and routes, up. A default MTU is only a beginning: one that somebody sets by hand stays.
 * `networks`: packets to the networks of the addresses must leave by this device. Throws AnyhopError when none of it can be had: the
 * device can't be brought up, or every address is missing.
 */
export async function keepDevice(
  keeper: HostKeeper,
  device: string,
  mtuBytes: number,
  addresses: readonly string[],
  routes: readonly string[] = [],
  networks = false,
): Promise<void> {
  await keeper.want("device", [
    {
      ...{ kind: "link", device, mtuBytes, linkLocal: addresses.some((address) => address.includes(":")) },
      mtuMayChange: mtuBytes === MTU_DEFAULT,
    },
    ...addresses.map((address) => ({ kind: "address", device, address }) as const),
    ...routes.map((prefix) => ({ kind: "route", device, prefix }) as const),
  ]);
  const useless = uselessOf(keeper.kept);
  if (useless !== undefined) throw useless;
  if (!networks) return;
  const prefixes = new Set(addresses.flatMap(networkOf));
  await keeper.want(
    "networks",
    [...prefixes].map((prefix) => ({ kind: "route", device, prefix, network: true }) as const),
  );
}

/** Why a device is of no use: it is not up, or has none of its addresses, or none of its routes; undefined: it is. */
export function uselessOf(kept: readonly Kept[]): AnyhopError | undefined {
  for (const kind of ["link", "address", "route"] as const) {
    const all = kept.filter(({ wish }) => wish.kind === kind);
    const [first] = all;
    if (first !== undefined && all.every(({ why }) => why !== null))
      return new AnyhopError("ip_tool", `Configuring the device failed: ${first.what} is missing: ${first.why}`);
  }
  return undefined;
}

/** The first of what is missing; undefined: nothing. */
export function missingOf(kept: readonly Kept[]): AnyhopError | undefined {
  const first = kept.find(({ state }) => state === "missing");
  return first && new AnyhopError("ip_tool", `${first.what} is missing: ${first.why}`);
}
