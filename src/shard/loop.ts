/**
 * The loop of one shard: wait, take batches, keep time, listen to the control plane; for ever, until told to stop.
 * Sleeps in `poll` and nowhere else: wakes at once on the first packet, and the batch is what has come meanwhile, so it
 * grows with the load by itself. Each source has one batch a round, so none starves another.
 */
import { READY_DEVICE, READY_SOCKET0, READY_WAKE } from "../dataplane/layout.ts";
import { turnFromDevice, turnFromSocket, turnKeepalive } from "../dataplane/pipeline.ts";
import type { Plane } from "../dataplane/plane.ts";

/** Keepalives, table ageing and events for people. */
const TICK_MS = 250;
/** A path MTU that was learnt is forgotten after this, as the kernel forgets its own (RFC 1981 section 5.3). */
const PATH_MTU_AGE_MS = 600_000;

export interface ShardControl {
  /** Applies waiting messages. False: stop. */
  readInbox(): boolean;
  /** Passes on what the event ring holds. */
  flushEvents(): void;
  /** Passes on what the control ring holds. */
  flushControl(): void;
  /** Passes on which MAC addresses were learnt; called only with several shards or in a group. */
  flushMacs?(words: Int32Array): void;
}

/** Runs until `control.readInbox` says stop, or the device is gone. Returns 0 or the -errno that ended it. */
export function runLoop(p: Plane, sockets: number, control: ShardControl): number {
  let nextTick = 0;
  for (;;) {
    const wait = Math.max(0, Math.ceil(nextTick - p.io.now()));
    const ready = p.io.poll(wait);
    const now = p.io.now();
    if ((ready & READY_WAKE) !== 0 && !control.readInbox()) return 0;
    for (let s = 0; s < sockets; s++) {
      if ((ready & (READY_SOCKET0 << s)) !== 0) turnFromSocket(p, s, now);
    }
    if ((ready & READY_DEVICE) !== 0) {
      const n = turnFromDevice(p, now);
      if (n < 0) return n;
    }
    if (p.control.count > 0) control.flushControl();
    if (p.events.urgent) control.flushEvents();
    if (now >= nextTick) {
      nextTick = now + TICK_MS;
      turnKeepalive(p, now);
      p.macs.expire(now);
      forgetPathMtus(p, now);
      if (p.events.count > 0 || p.events.lost > 0) control.flushEvents();
      if (p.macNews && p.macNews.count > 0) control.flushMacs?.(p.macNews.drain());
    }
  }
}

function forgetPathMtus(p: Plane, now: number): void {
  const { innerMtu, configuredMtu, mtuAt } = p.tunnels;
  for (let m = 0; m < p.memberCount; m++) {
    const t = p.members[m];
    if (innerMtu[t] < configuredMtu[t] && now - mtuAt[t] > PATH_MTU_AGE_MS) innerMtu[t] = configuredMtu[t];
  }
}
