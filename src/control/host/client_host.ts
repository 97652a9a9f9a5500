/**
 * What a service of a client wants of its host: addresses and routes of its device, the kill switch, a route to the node beside
 * the tunnel, hooks. `host_keeper.ts` sets these and keeps them; this file decides what it means when one of them is missing, in
 * particular whether packets leave in clear. It decides nothing about sessions.
 */
import type { Clock } from "../../base/clock.ts";
import { formatAddress, parseAddress } from "../../base/ip.ts";
import type { Logger } from "../../base/log.ts";
import { contains, formatPrefix, parsePrefix } from "../../base/prefix.ts";
import type { Settings } from "../../handshake/settings.ts";
import { MTU_DEFAULT, type ServiceSpec } from "../spec/instance.ts";
import type { HostJournal, HostNetwork } from "../spec/ports.ts";
import { type HookEvent, hookEnvironment, type ServiceState } from "./hooks.ts";
import { besideOf, familyOfPrefix, hasFamily } from "./host_items.ts";
import { changeOf, type HostChange, HostKeeper, type Kept, missingOf, uselessOf } from "./host_keeper.ts";

const EVERYTHING_4 = ["0.0.0.0/1", "128.0.0.0/1"];
const EVERYTHING_6 = ["::/1", "8000::/1"];
/** Networks beside the tunnel that status names. */
const BESIDE_MAX = 20;

export interface ClientHostPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly host: HostNetwork;
  /** What would stay after kill -9. */
  readonly journal: HostJournal;
  /** PATH for hooks. */
  readonly path: string;
}

/** What is not as the file and the node ask for it, as the kernel has it now. */
export interface HostProblem {
  /** What, why, what to do. */
  readonly text: string;
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
  /** Packets that belong into the tunnel leave this host in clear. */
  readonly leaks: boolean;
}

/** Largest inner packet of a service. */
export const innerMtu = (service: ServiceSpec, settings: Settings): number =>
  service.mtuBytes ?? (settings.mtuBytes || MTU_DEFAULT);

export class ClientHost {
  readonly #service: ServiceSpec;
  readonly #use: ClientHostPorts;
  #keeper!: HostKeeper;
  /** Sentences about hooks, by event. */
  readonly #hooks = new Map<string, string>();
  /** Outer addresses that were tried, as host prefixes. */
  readonly #outer = new Map<string, () => void>();
  #blocked: readonly string[] = [];
  #state: ServiceState | undefined;
  /** Since when `#uncarried` has a problem, wall clock in ms; 0 = it has none. */
  #uncarriedMs = 0;

  constructor(service: ServiceSpec, ports: ClientHostPorts) {
    this.#service = service;
    this.#use = ports;
  }

  /** What the service was configured with; undefined before. */
  get state(): ServiceState | undefined {
    return this.#state;
  }

  /** What was changed on this host, and how each of it is now. */
  get changes(): readonly HostChange[] {
    return this.#kept.map(changeOf);
  }

  /** It was configured, and the device is of use. */
  get isUsable(): boolean {
    return this.#state !== undefined && uselessOf(this.#kept) === undefined;
  }

  /** What hooks did, one sentence each. */
  get hooks(): readonly string[] {
    return [...this.#hooks.values()];
  }

  /** Networks of this host inside of what goes into the tunnel, which stay beside it. */
  get beside(): readonly string[] {
    const { facts } = this.#keeper ?? {};
    if (facts === undefined || this.#state === undefined) return [];
    return besideOf(this.#state.routes, facts, this.#state.device).slice(0, BESIDE_MAX);
  }

  /** Everything that belongs into the tunnel goes there, or nowhere. Before the first session only a kill switch sees to it. */
  get isProtected(): boolean {
    if (this.#state !== undefined) return !this.problems.some(({ leaks }) => leaks);
    return this.#blocked.length > 0 && this.#blocked.every((prefix) => this.#isBlocked(prefix));
  }

  /** In the order in which they began. */
  get problems(): readonly HostProblem[] {
    const kept = this.#kept.filter(({ state }) => state === "missing");
    // Items that are missing for the same reason are told as one problem.
    const problems = new Map<
      string,
      { readonly what: string[]; readonly sinceMs: number; readonly why: string; readonly leaks: boolean }
    >();
    for (const { wish, what, why, sinceMs, elsewhere } of kept) {
      const leaks = wish.kind === "route" && (elsewhere || !this.#isBlocked(wish.prefix));
      const key = `${leaks} ${why}`;
      const same = problems.get(key);
      const name = wish.kind === "route" ? wish.prefix : what;
      if (same === undefined) problems.set(key, { what: [name], sinceMs, why: why ?? "", leaks });
      else same.what.push(name);
    }
    const texts = [...problems.values()].map(({ what, sinceMs, why, leaks }) => {
      const text = leaks ? `${what.join(", ")}: packets leave this host in clear` : `${what.join(", ")}: missing`;
      return { text: `${text}; ${why}`, sinceMs, leaks };
    });
    return [...texts, ...this.#uncarried].sort((a, b) => a.sinceMs - b.sinceMs);
  }

  get #kept(): readonly Kept[] {
    return this.#keeper?.kept ?? [];
  }

  /** The problem that the file asks for all traffic in the tunnel, the host has IPv6, and the node gave no IPv6 address. */
  get #uncarried(): readonly HostProblem[] {
    const { state } = this;
    const facts = this.#keeper?.facts;
    if (this.#service.routes !== "everything" || state === undefined || facts === undefined) return [];
    const isCarried = state.routes.some((route) => familyOfPrefix(route) === 6);
    if (isCarried || this.#isBlocked(EVERYTHING_6[0]) || !hasFamily(facts, 6, state.device)) {
      this.#uncarriedMs = 0;
      return [];
    }
    this.#uncarriedMs ||= this.#use.clock.wallMs();
    const text =
      "IPv6: packets leave this host in clear; the node gives no IPv6 address, so the tunnel can't carry it: " +
      "set kill_switch = true for the service, or give the group an IPv6 pool";
    return [{ text, sinceMs: this.#uncarriedMs, leaks: true }];
  }

  #isBlocked(prefix: string): boolean {
    return this.#kept.some(
      ({ wish, state }) =>
        wish.kind === "unreachable" && wish.prefix === prefix && (state === "ok" || state === "restored"),
    );
  }

  /**
   * Repairs what a start that was killed has left, brings the device up, and with a kill switch closes the way out for the
   * prefixes of the file, when it names some. Before names are resolved.
   */
  async begin(device: string): Promise<void> {
    const { killSwitch, routes, name, mtuBytes } = this.#service;
    this.#keeper = new HostKeeper(device, { ...this.#use, label: `Service ${name}` });
    if (!killSwitch) await this.#keeper.forget("unreachable");
    if (killSwitch && Array.isArray(routes)) await this.#block(routes);
    await this.#keeper.want("link", [{ kind: "link", device, mtuBytes: mtuBytes ?? MTU_DEFAULT, linkLocal: false }]);
  }

  /**
   * Kill switch for ["default"]: both address families, because a family that the tunnel does not carry would leave beside it.
   * Call after `pin`.
   */
  async blockEverything(): Promise<void> {
    const { killSwitch, routes } = this.#service;
    if (killSwitch && routes === "everything") await this.#block([...EVERYTHING_4, ...EVERYTHING_6]);
  }

  /** The way to the node must not lead into the tunnel. `moved`: the host sends on another way now. */
  async pin(address: string, moved: () => void): Promise<void> {
    this.#outer.set(`${address}/${address.includes(":") ? 128 : 32}`, moved);
    await this.#pin();
  }

  /**
   * Addresses, routes, kill switch and hooks, whenever the node has said what they are. `endpoint`: where it is. Throws
   * AnyhopError when the device is of no use then, and when a change could not be made as a whole; what is wanted is kept all
   * the same, see `isUsable`.
   */
  async configure(device: string, endpoint: string, settings: Settings): Promise<void> {
    const service = this.#service;
    const text = (a: Settings["addresses"][number]) => `${formatAddress(a.w0, a.w1, a.w2, a.w3)}/${a.length}`;
    const addresses = service.addresses ?? settings.addresses.map(text);
    const hasIpv6 = addresses.some((a) => a.includes(":"));
    const everything = [...EVERYTHING_4, ...(hasIpv6 ? EVERYTHING_6 : [])];
    const given = service.routes === "everything" ? everything : (service.routes ?? settings.routes.map(text));
    const routes = given.filter((route) => hasIpv6 || !route.includes(":"));
    const mtuBytes = innerMtu(service, settings);
    const dns = settings.dns.map((a) => formatAddress(a.w0, a.w1, a.w2, a.w3));
    const wasConfigured = this.#state !== undefined;
    this.#state = { device, endpoint, addresses, routes, dns, mtuBytes };
    await this.#pin();
    if (service.killSwitch && this.#blocked.length === 0) await this.#block(given);
    await this.#keeper.want("link", [
      { kind: "link", device, mtuBytes, linkLocal: false },
      ...addresses.map((address) => ({ kind: "address", device, address }) as const),
      ...routes.map((route) => ({ kind: "route", device, prefix: canonicalPrefix(route) }) as const),
    ]);
    await this.#keeper.forget();
    const useless = uselessOf(this.#kept) ?? (wasConfigured ? missingOf(this.#kept) : undefined);
    if (useless !== undefined) throw useless;
    if (dns.length > 0) await this.#hook("dns", service.hooks.dns);
    await this.#hook("post_up", service.hooks.postUp);
  }

  /**
   * Takes back what was changed on the host beyond the device, and says post_down. `failed`: the service ends though nobody
   * wanted it to, so the kill switch stays, as after kill -9; the next start and stop take it back.
   */
  async leave(failed: boolean): Promise<void> {
    await this.#keeper
      ?.stop(({ kind }) => failed && kind === "unreachable")
      .catch((error: Error) => this.#warn("undo", error.message));
    await this.#hook("post_down", this.#service.hooks.postDown);
  }

  /** Wants a host route to the node only when a route of the tunnel or of the kill switch would take the packets to it. */
  async #pin(): Promise<void> {
    const { routes } = this.#service;
    const taken = [
      ...(routes === "everything" ? [...EVERYTHING_4, ...EVERYTHING_6] : (routes ?? [])),
      ...(this.#state?.routes ?? []),
    ];
    const wishes = [...this.#outer]
      .filter(([prefix]) => taken.some((route) => isInside(prefix, route)))
      .map(([prefix, moved]) => ({ kind: "pin", prefix, moved }) as const);
    if (wishes.length > 0) await this.#keeper.want("pin", wishes);
  }

  async #block(routes: readonly string[]): Promise<void> {
    this.#blocked = routes.map(canonicalPrefix);
    await this.#keeper.want(
      "kill switch",
      this.#blocked.map((prefix) => ({ kind: "unreachable", prefix }) as const),
    );
  }

  async #hook(event: HookEvent, program: string | undefined): Promise<void> {
    if (program === undefined || this.#state === undefined) return;
    const environment = hookEnvironment(event, this.#service, this.#state, this.#use.path);
    await this.#use.host.run(program, [], environment).then(
      () => void this.#hooks.set(event, `${event} hook: ${program} was run`),
      (error: Error) => {
        this.#hooks.set(event, `${event} hook: ${program} failed`);
        this.#warn("hook", `${event}: ${error.message}`);
      },
    );
  }

  #warn(event: string, message: string): void {
    this.#use.log.warning(event, `Service ${this.#service.name}: ${message}`);
  }
}

const canonicalPrefix = (text: string): string => formatPrefix(parsePrefix(text)!);

function isInside(host: string, route: string): boolean {
  const address = parseAddress(host.split("/")[0])!;
  return contains(parsePrefix(route)!, address.w0, address.w1, address.w2, address.w3);
}
