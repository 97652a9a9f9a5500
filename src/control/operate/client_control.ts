/** The control of a client: its services by name. */
import { AnyhopError } from "../../base/errors.ts";
import type { ClientControl } from "../asked/control_port.ts";
import type { EventHub } from "../asked/event_hub.ts";
import type { ClientEnd } from "../client/client_end.ts";

export function createClientControl(ends: readonly ClientEnd[], events: EventHub): ClientControl {
  return {
    controls() {
      const each = ends.map((end) => end.controls());
      return each[0].map((one, k) => ({ ...one, count: each.reduce((sum, counts) => sum + counts[k].count, 0) }));
    },
    services: () => ends.map((end) => end.status()),
    async ping(service, timeoutMs) {
      const end = ends.find((one) => one.nameOf() === service);
      if (end !== undefined) return end.ping(timeoutMs);
      const names = ends.map((one) => one.nameOf()).join(", ");
      throw new AnyhopError("unknown_service", `There is no service ${service} here, but ${names}.`);
    },
    follow: (listener) => events.listen(listener),
  };
}
