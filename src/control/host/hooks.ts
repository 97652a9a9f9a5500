/** What the programs named by dns_hook, post_up and post_down find in their environment. Nothing secret is in it. */
import type { ServiceSpec } from "../spec/instance.ts";

export type HookEvent = "dns" | "post_up" | "post_down";

/** What is known once a service is up. */
export interface ServiceState {
  readonly device: string;
  /** Outer address and port of the node, "192.0.2.1:4444". */
  readonly endpoint: string;
  /** Inner addresses with length, from the file or from the node. */
  readonly addresses: readonly string[];
  /** Prefixes that go into the tunnel. */
  readonly routes: readonly string[];
  readonly dns: readonly string[];
  readonly mtuBytes: number;
}

/** Every variable with its meaning; docs/OPERATIONS.md has the same table. */
export const hookVariables = {
  ANYHOP_EVENT: "`dns`, `post_up` or `post_down`",
  ANYHOP_SERVICE: "name of the service",
  ANYHOP_DEVICE: "name of the device",
  ANYHOP_ENDPOINT: "outer address and port of the node",
  ANYHOP_ADDRESSES: "inner addresses with prefix length, separated by spaces",
  ANYHOP_ROUTES: "prefixes that go into the tunnel, separated by spaces",
  ANYHOP_DNS: "name servers, separated by spaces; empty when there are none",
  ANYHOP_MTU: "largest inner packet in bytes",
  ANYHOP_KILL_SWITCH: "1 or 0",
  PATH: "as the daemon has it",
} as const;

/** The whole environment of a hook. `path`: the daemon's PATH. */
export function hookEnvironment(
  event: HookEvent,
  service: ServiceSpec,
  state: ServiceState,
  path: string,
): Record<keyof typeof hookVariables, string> {
  return {
    ANYHOP_EVENT: event,
    ANYHOP_SERVICE: service.name,
    ANYHOP_DEVICE: state.device,
    ANYHOP_ENDPOINT: state.endpoint,
    ANYHOP_ADDRESSES: state.addresses.join(" "),
    ANYHOP_ROUTES: state.routes.join(" "),
    ANYHOP_DNS: state.dns.join(" "),
    ANYHOP_MTU: String(state.mtuBytes),
    ANYHOP_KILL_SWITCH: service.killSwitch ? "1" : "0",
    PATH: path,
  };
}
