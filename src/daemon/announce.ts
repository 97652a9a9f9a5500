/** Wires a node's announcer to this operating system: routing daemon, self-test over real sockets, service device. */
import { networkInterfaces } from "node:os";
import { createDriver } from "../announce/drivers.ts";
import { countersOf, latest } from "../api/totals.ts";
import type { Logger } from "../base/log.ts";
import type { NodeGroup } from "../control/group/node_group.ts";
import type { Supervisor } from "../control/instance/supervisor.ts";
import type { NodeEnd } from "../control/node/node_end.ts";
import { Announcing } from "../control/routing/announcing.ts";
import { SelfTest } from "../control/routing/health.ts";
import type { NodeSpec } from "../control/spec/instance.ts";
import { systemEntropy } from "../crypto/entropy.ts";
import { PUNT_FULL } from "../dataplane/verdict.ts";
import { openProbeSocket } from "../drivers/probe_socket.ts";
import { openServiceDevice, type ServiceDevice } from "../drivers/service_device.ts";
import { systemClock } from "./clock.ts";

export interface AnnounceParts {
  readonly announcing: Announcing;
  /** Before packets flow: nothing announced, then the device with the service addresses. */
  arrive(): Promise<void>;
  /** Withdraws. */
  leave(): Promise<void>;
  /** Lets the service addresses go; after the sockets that are bound to them. */
  close(): void;
}

export interface AnnouncePorts {
  readonly supervisor: Supervisor;
  readonly sessions: NodeEnd;
  /** Of a node that is one of several. */
  readonly group: NodeGroup | undefined;
  readonly tell: (event: string, message: string) => void;
  readonly log: Logger;
}

/** Nothing is sent over it, so its size does not matter; this one fits every tool. */
const SERVICE_DEVICE_MTU = 1500;
/** After a drain, for handing over the sessions that clients left here. */
const HAND_OVER_MS = 3000;

export function createAnnouncing(
  { announce, instance }: NodeSpec,
  { supervisor, sessions, group, tell, log }: AnnouncePorts,
): AnnounceParts {
  const probes = openProbeSocket((datagram) => selfTest.received(systemClock.monotonicMs(), datagram));
  const { port } = instance.listen[0];
  const selfTest = new SelfTest(
    announce.addresses.map((text) => ({ address: text.split("/")[0], port })),
    systemEntropy.bytes(32),
    {
      send: (datagram, to) => probes.send(datagram, to.address, to.port),
      work() {
        const counters = countersOf(supervisor.shards);
        return { handled: counters.reduce((a, b) => a + b, 0), refused: counters[PUNT_FULL] };
      },
      faults: () => faultsOf(supervisor, announce.device),
    },
  );
  sessions.answerSelfTest = (datagram) => selfTest.answer(datagram);
  const announcing = new Announcing(announce, {
    clock: systemClock,
    driver: (onLost) => createDriver(announce, instance.name, process.env["PATH"] ?? "", onLost),
    selfTest: announce.addresses.length > 0 ? selfTest : undefined,
    heardMs: () => latest(supervisor.shards, ({ lastRx }) => lastRx.reduce((a, b) => Math.max(a, b), 0)),
    tell,
    onWish: (wish) => group?.drain(wish === "drain" ? "draining" : "serving"),
    async onSilence({ exit }) {
      const left = (await group?.leave(HAND_OVER_MS)) ?? 0;
      if (left > 0) log.warning("not_handed_over", `${left} sessions stay here: no other node takes them`);
      // The same end as by `anyhop down`.
      if (exit) process.kill(process.pid, "SIGTERM");
    },
  });
  let device: ServiceDevice | undefined;
  return {
    announcing,
    async arrive() {
      await announcing.prepare();
      if (announce.device === undefined) return;
      device = openServiceDevice(announce.device);
      await supervisor.keep(announce.device, SERVICE_DEVICE_MTU, announce.addresses);
      log.info("service_device", `The device ${announce.device} holds ${announce.addresses.join(", ")}`);
    },
    async leave() {
      await announcing.stop();
      probes.close();
    },
    close: () => device?.close(),
  };
}

/** What is wrong beside the path of a datagram. */
function faultsOf(supervisor: Supervisor, serviceDevice: string | undefined): string[] {
  // Only interfaces that are up and have an address are in it.
  const up = networkInterfaces();
  const devices = [
    ...(supervisor.spec.device.addresses.length > 0 ? [supervisor.deviceName] : []),
    ...(serviceDevice === undefined ? [] : [serviceDevice]),
  ];
  const down = devices.filter((name) => up[name] === undefined).map((name) => `the device ${name} is down or gone`);
  const spent = supervisor.spec.tunnels.filter((_, row) =>
    supervisor.shards.some(({ tunnels }) => tunnels.used[row] === 1 && tunnels.seqNext[row] >= tunnels.seqLimit[row]),
  );
  return [...down, ...spent.map(({ name }) => `tunnel ${name} has no sequence numbers left on disk`)];
}
