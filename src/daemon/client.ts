/** A client in the foreground: one instance, with a device of its own, for each service of the file. */
import { lookup } from "node:dns/promises";
import { ClientEnd } from "../control/client_end.ts";
import type { ClientSpec, InstanceSpec, ServiceSpec } from "../control/instance.ts";
import { systemEntropy } from "../crypto/entropy.ts";
import { hostNetwork } from "../drivers/host_network.ts";
import { systemClock } from "./clock.ts";
import { type InstanceHooks, runInstance } from "./instance.ts";

const MTU = 1400;

export async function runClient(spec: ClientSpec, hooks: InstanceHooks): Promise<number> {
  const codes = await Promise.all(spec.services.map((service, k) => runService(spec, service, k, hooks)));
  return Math.max(...codes);
}

function runService(spec: ClientSpec, service: ServiceSpec, k: number, hooks: InstanceHooks): Promise<number> {
  const sessions = new ClientEnd(spec, service, {
    ...{ clock: systemClock, log: hooks.log, entropy: systemEntropy, host: hostNetwork },
    resolve: async (host) => (await lookup(host, { all: true })).map((a) => a.address),
    path: process.env["PATH"] ?? "",
  });
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
  return runInstance(
    instance,
    { ...hooks, onReady: () => void sessions.whenUp.then(hooks.onReady) },
    { sessions, leave: () => sessions.leave() },
  );
}
