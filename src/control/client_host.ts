/**
 * What a service of a client does to its host: addresses and routes of its device, the kill switch, the way to the node,
 * hooks. Remembers each change as a sentence and how to undo it; decides nothing about sessions.
 */
import { formatAddress } from "../base/ip.ts";
import type { Logger } from "../base/log.ts";
import type { Settings } from "../handshake/settings.ts";
import { hookEnvironment, type ServiceState } from "./hooks.ts";
import type { ServiceSpec } from "./instance.ts";
import type { HostNetwork } from "./ports.ts";

const MTU_DEFAULT = 1400;
const EVERYTHING_4 = ["0.0.0.0/1", "128.0.0.0/1"];
const EVERYTHING_6 = ["::/1", "8000::/1"];

export interface ClientHostPorts {
  readonly log: Logger;
  readonly host: HostNetwork;
  /** PATH for hooks. */
  readonly path: string;
}

/** Largest inner packet of a service. */
export const innerMtu = (service: ServiceSpec, settings: Settings): number =>
  service.mtuBytes ?? (settings.mtuBytes || MTU_DEFAULT);

export class ClientHost {
  readonly #service: ServiceSpec;
  readonly #use: ClientHostPorts;
  readonly #undo: (() => Promise<void>)[] = [];
  /** Sentences, by what they are about. */
  readonly #changes = new Map<string, readonly string[]>();
  /** Outer addresses with a host route of their own. */
  readonly #pinned = new Set<string>();
  #isBlocked = false;
  #state: ServiceState | undefined;

  constructor(service: ServiceSpec, ports: ClientHostPorts) {
    this.#service = service;
    this.#use = ports;
  }

  /** What the service was configured with; undefined before. */
  get state(): ServiceState | undefined {
    return this.#state;
  }

  /** What was changed on this host, one sentence each. */
  get changes(): string[] {
    return [...this.#changes.values()].flat();
  }

  /** With a kill switch: closes the way out for the prefixes of the file, when it names some. Before names are resolved. */
  async blockNamed(): Promise<void> {
    const { killSwitch, routes } = this.#service;
    if (killSwitch && Array.isArray(routes)) await this.#block(routes);
  }

  /** Both families, whatever the tunnel carries: what it does not carry would leave beside it. After `pin`. */
  async blockEverything(): Promise<void> {
    const { killSwitch, routes } = this.#service;
    if (killSwitch && routes === "everything") await this.#block([...EVERYTHING_4, ...EVERYTHING_6]);
  }

  /** The way to the node must not lead into the tunnel. `moved`: the host sends on another way now. */
  async pin(address: string, device: string, moved: () => void): Promise<void> {
    if (this.#service.routes !== "everything" || this.#pinned.has(address)) return;
    this.#pinned.add(address);
    let isFirst = true;
    const told = (way: string) => {
      this.#changes.set(`pin ${address}`, [`host route ${way}`]);
      if (isFirst) return;
      this.#use.log.notice("repinned", `Service ${this.#service.name}: the way to the node is now ${way}`);
      moved();
    };
    await this.#use.host.pin(address, device, told).then(
      (undo) => this.#undo.push(undo),
      (error: Error) => this.#warn("pin", `there is no way to ${address} (${error.message})`),
    );
    isFirst = false;
  }

  /** Addresses, routes, kill switch and hooks, once the node has said what they are. `endpoint`: where it is. */
  async configure(device: string, endpoint: string, settings: Settings): Promise<void> {
    const service = this.#service;
    const text = (a: Settings["addresses"][number]) => `${formatAddress(a.w0, a.w1, a.w2, a.w3)}/${a.length}`;
    const addresses = service.addresses ?? settings.addresses.map(text);
    const hasIpv6 = addresses.some((a) => a.includes(":"));
    const everything = [...EVERYTHING_4, ...(hasIpv6 ? EVERYTHING_6 : [])];
    const routes = service.routes === "everything" ? everything : (service.routes ?? settings.routes.map(text));
    const mtuBytes = innerMtu(service, settings);
    const dns = settings.dns.map((a) => formatAddress(a.w0, a.w1, a.w2, a.w3));
    this.#state = { device, endpoint, addresses, routes, dns, mtuBytes };
    if (service.killSwitch && !this.#isBlocked) await this.#block(routes);
    const done = await this.#use.host.configure({
      ...{ name: device, mtuBytes, addresses },
      routes: routes.filter((r) => hasIpv6 || !r.includes(":")),
    });
    this.#changes.set("device", done);
    if (dns.length > 0) await this.#hook("dns", service.hooks.dns);
    await this.#hook("post_up", service.hooks.postUp);
  }

  /** Takes back what was changed on the host beyond the device, and says post_down. */
  async leave(): Promise<void> {
    for (const undo of this.#undo.reverse()) await undo().catch((error: Error) => this.#warn("undo", error.message));
    await this.#hook("post_down", this.#service.hooks.postDown);
  }

  async #block(routes: readonly string[]): Promise<void> {
    this.#undo.push(await this.#use.host.block(routes));
    this.#isBlocked = true;
    this.#changes.set("block", [`kill switch: ${routes.join(" ")} unreachable outside the tunnel`]);
  }

  async #hook(event: "dns" | "post_up" | "post_down", program: string | undefined): Promise<void> {
    if (program === undefined || this.#state === undefined) return;
    const environment = hookEnvironment(event, this.#service, this.#state, this.#use.path);
    await this.#use.host.run(program, [], environment).then(
      () => void this.#changes.set(event, [`${event} hook: ${program} was run`]),
      (error: Error) => {
        this.#changes.set(event, [`${event} hook: ${program} failed`]);
        this.#warn("hook", `${event}: ${error.message}`);
      },
    );
  }

  #warn(event: string, message: string): void {
    this.#use.log.warning(event, `Service ${this.#service.name}: ${message}`);
  }
}
