/** An announcer's settings, and a routing daemon in memory that can be away, slow, restarted or changed by somebody. */
import type { AnnounceSpec, Phase } from "../../src/announce/spec.ts";
import type { Driver } from "../../src/announce/steering.ts";
import type { Clock } from "../../src/base/clock.ts";
import { AnyhopError } from "../../src/base/errors.ts";
import { Announcing, type AnnouncingPorts } from "../../src/control/routing/announcing.ts";

export const NO_ANNOUNCE: AnnounceSpec = {
  ...{ kind: "none", device: undefined, addresses: [], prefixes: [], timeoutMs: 5000 },
  ...{ socket: "/run/bird/bird.ctl", protocols: [], drainProtocols: [] },
  ...{ pipe: "/run/exabgp/exabgp.in", nextHop: { v4: "self", v6: "self" }, command: "" },
  ...{ goodToAnnounce: 3, badToWithdraw: 2 },
};

export class MemoryRouting implements Driver {
  phase: Phase | undefined;
  away = false;
  slowMs = 0;
  /** Every phase that was set, in order. */
  readonly history: Phase[] = [];
  closed = false;

  async apply(phase: Phase): Promise<void> {
    if (this.slowMs > 0) await new Promise((resolve) => setTimeout(resolve, this.slowMs));
    if (this.away) throw new AnyhopError("routing_away", "The routing daemon is away.");
    this.phase = phase;
    this.history.push(phase);
  }

  async refresh(phase: Phase): Promise<boolean> {
    if (this.phase === phase && !this.away) return false;
    await this.apply(phase);
    return true;
  }

  close(): void {
    this.closed = true;
  }
}

/** A node's announcer that is told by nobody; the node counts as healthy. Not started. */
export function announcingOf(clock: Clock, ports: Partial<AnnouncingPorts> = {}, spec = NO_ANNOUNCE): Announcing {
  return new Announcing(spec, {
    ...{ clock, driver: () => new MemoryRouting(), selfTest: undefined, heardMs: () => 0 },
    ...{ tell: () => {}, onWish: () => {}, onSilence: () => {} },
    ...ports,
  });
}
