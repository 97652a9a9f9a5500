/** The driver that a specification means. */
import { BirdDriver } from "./bird.ts";
import { CommandDriver } from "./command.ts";
import { ExabgpDriver } from "./exabgp.ts";
import type { AnnounceSpec } from "./spec.ts";
import type { Driver } from "./steering.ts";

/** Somebody else announces, or the addresses are no anycast addresses. */
const none: Driver = { apply: async () => {}, refresh: async () => false, close() {} };

/** `onLost`: the routing daemon is gone; `instance` and `path` (the daemon's PATH) are for the program of "command". */
export function createDriver(spec: AnnounceSpec, instance: string, path: string, onLost: () => void): Driver {
  switch (spec.kind) {
    case "none":
      return none;
    case "bird":
      return new BirdDriver(spec, onLost);
    case "exabgp":
      return new ExabgpDriver(spec);
    case "command":
      return new CommandDriver(spec, instance, path);
  }
}
