/** A client in the foreground: one instance, with a device of its own, for each service of the file. */
import { lookup } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { EventHub } from "../control/asked/event_hub.ts";
import { ClientEnd } from "../control/client/client_end.ts";
import { createClientControl } from "../control/operate/client_control.ts";
import type { ClientSpec, InstanceSpec, ServiceSpec } from "../control/spec/instance.ts";
import { systemEntropy } from "../crypto/entropy.ts";
import { hostNetwork } from "../drivers/host_network.ts";
import { useNativeHandshake } from "../drivers/native_handshake.ts";
import { probeReach } from "../drivers/reach_probe.ts";
import { openStore } from "../drivers/store.ts";
import { systemClock } from "./clock.ts";
import { type InstanceHooks, runInstance } from "./instance.ts";
import { warmUpSessions } from "./warm_up_sessions.ts";

const MTU = 1400;

export async function runClient(spec: ClientSpec, hooks: InstanceHooks): Promise<number> {
  const { version, log, onListening } = hooks;
  useNativeHandshake();
  warmUpSessions(systemEntropy);
  const events = new EventHub(systemClock);
  const services = spec.services.map((service, k) => createService(spec, service, k, events, hooks));
  const ends = services.map(({ sessions }) => sessions);
  const unfollow = events.listen(({ message }) => hooks.onStep?.(message));
  void Promise.all(ends.map((end) => end.whenUp)).then(() => {
    unfollow();
    hooks.onReady();
  });
  let stopAll!: (reason: string) => void;
  const stop = new Promise<string>((resolve) => {
    stopAll = resolve;
  });
  const runs = services.map(({ instance, sessions, store }, k) =>
    runInstance(
      instance,
      // Ready is when all of them are up; the socket of the first one speaks for all.
      { version, log, onReady: () => {}, ...(k === 0 && onListening !== undefined ? { onListening } : {}) },
      {
        ...{ sessions, store, stop, leave: (failed) => sessions.leave(failed) },
        // Who asks for the client by its name hears of all its services.
        client: createClientControl(k === 0 ? ends : [sessions], events),
      },
    ),
  );
  try {
    return Math.max(...(await Promise.all(runs)));
  } catch (error) {
    // One that cannot start: half a client is none.
    stopAll("the failure of another service");
    await Promise.allSettled(runs);
    throw error;
  }
}

function createService(spec: ClientSpec, service: ServiceSpec, k: number, events: EventHub, { log }: InstanceHooks) {
  // The first service has the name and the socket of the file; further ones add their own name.
  const suffix = k === 0 ? "" : `-${service.name}`;
  const instance: InstanceSpec = {
    name: `${spec.name}${suffix}`,
    listen: ["0.0.0.0", "::"].map((address) => ({ address, port: k === 0 ? spec.port : 0 })),
    senderId: 0,
    device: {
      ...{ type: "tun", name: service.device, mtuBytes: service.mtuBytes ?? MTU },
      ...{ addresses: service.addresses ?? [], hostRoutes: [], postUp: undefined },
    },
    ...{ shards: 1, tunnels: [], fanoutMax: 1, floodPps: 1000, dscp: "copy", stateDir: spec.stateDir },
    socketPath: spec.socketPath.replace(/\.sock$/, `${suffix}.sock`),
  };
  const store = openStore(spec.stateDir, instance.name);
  const sessions = new ClientEnd(spec, service, {
    ...{ clock: systemClock, log, entropy: systemEntropy, host: hostNetwork, store, events },
    probe: probeReach,
    resolve: async (host) => (await lookup(host, { all: true })).map((a) => a.address),
    ...{ path: process.env["PATH"] ?? "", boot: bootId() },
  });
  return { instance, store, sessions };
}

/** Random, and another one in each boot of each machine (random(4)). */
function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
