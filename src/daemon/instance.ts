/**
 * One instance in the foreground: control socket, supervisor, signals. Wires the drivers of this operating system into
 * the control plane.
 */
import { createHash, randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { availableParallelism } from "node:os";
import { bugLog } from "../api/bug_log.ts";
import { startApiServer } from "../api/server.ts";
import { buildStatus } from "../api/status.ts";
import { AnyhopError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { ClientControl, Control } from "../control/asked/control_port.ts";
import type { SessionEnd } from "../control/instance/session_end.ts";
import { Supervisor } from "../control/instance/supervisor.ts";
import type { InstanceSpec, TunnelSpec } from "../control/spec/instance.ts";
import type { Store } from "../control/spec/ports.ts";
import { hostNetwork, queueDrops } from "../drivers/host_network.ts";
import { localAddresses } from "../drivers/local_addresses.ts";
import { openStore } from "../drivers/store.ts";
import { systemClock } from "./clock.ts";
import { startShardThread } from "./shard_thread.ts";

export interface InstanceHooks {
  readonly version: string;
  readonly log: Logger;
  /** Called once packets flow, before waiting for the end: privileges, pid file, the parent that waits. */
  readonly onReady: () => void;
  /** The control socket answers. */
  readonly onListening?: (socketPath: string) => void;
  /** One more line of how far it is. */
  readonly onStep?: (text: string) => void;
}

/** What makes a node or a client of an instance. */
export interface InstanceParts {
  readonly sessions?: SessionEnd;
  /** Opened before and shared; closed with the instance. */
  readonly store?: Store;
  readonly control?: (supervisor: Supervisor) => Control;
  /** Before sockets and devices are opened: what they need on this host. */
  readonly arrive?: () => Promise<void>;
  /** Packets flow. */
  readonly serve?: () => void | Promise<void>;
  /** Of an instance that is a service of a client. */
  readonly client?: ClientControl;
  /** Ends the instance when it settles, with the reason. */
  readonly stop?: Promise<string>;
  /** Undoes what was done on the host beyond the device. `failed`: the instance ends though nobody wanted it to. */
  readonly leave?: (failed: boolean) => Promise<void>;
}

/** Runs until a signal or a failure. Returns the exit code. */
export async function runInstance(
  spec: InstanceSpec,
  hooks: InstanceHooks,
  parts: InstanceParts = {},
): Promise<number> {
  const { log } = hooks;
  const signalled = waitForSignal();
  const supervisor = new Supervisor(
    spec,
    {
      clock: systemClock,
      log,
      startShard: startShardThread,
      openSeqStore: (stateDir) => parts.store ?? openStore(stateDir, spec.name),
      host: hostNetwork,
      local: localAddresses,
      resolve: async (host) => (await lookup(host, { all: true })).map((a) => a.address),
      cores: availableParallelism(),
      entropy: () => randomBytes(4).readInt32LE(),
      identityOf,
    },
    parts.sessions,
  );
  const control = parts.control?.(supervisor);
  const api = await startApiServer({
    socketPath: spec.socketPath,
    status: () =>
      buildStatus(supervisor, systemClock, {
        ...{ version: hooks.version, client: parts.client, announce: control?.announcement(), queueDrops },
        ...{ group: control?.groupStatus(), control, faults: control?.faults() },
      }),
    ...(parts.client === undefined ? {} : { client: parts.client }),
    ...(control === undefined ? {} : { control }),
    onBug: bugLog(log, systemClock),
  });
  hooks.onListening?.(spec.socketPath);
  let failed = true;
  try {
    await parts.arrive?.();
    await supervisor.start();
    void parts.serve?.();
    log.notice(
      "started",
      `${spec.name}: ${supervisor.deviceName} is up, ${spec.tunnels.length} tunnel(s), listening on ` +
        spec.listen
          .flatMap((l, i) => (supervisor.ports[i] > 0 ? [`${l.address} port ${supervisor.ports[i]}`] : []))
          .join(", "),
    );
    hooks.onReady();
    const end = await Promise.race([signalled, supervisor.failed, ...(parts.stop === undefined ? [] : [parts.stop])]);
    if (end instanceof AnyhopError) {
      log.error("failed", end.message);
      return 1;
    }
    failed = false;
    log.notice("stopping", `${spec.name}: stopping on ${end}`);
    return 0;
  } finally {
    await parts.leave?.(failed);
    await supervisor.stop();
    await api.close();
  }
}

function waitForSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const name of ["SIGINT", "SIGTERM", "SIGQUIT"] as const) process.on(name, () => resolve(name));
    // The terminal is gone; the originals ignore it, too.
    process.on("SIGHUP", () => {});
  });
}

/**
 * Everything that a key stream depends on but for the sequence number: keys, the half of them that this end seals with,
 * and the numbers that enter the counter block.
 */
function identityOf(tunnel: TunnelSpec, senderId: number): string {
  return createHash("sha256")
    .update(`anyhop seq ${tunnel.kdLen} ${tunnel.role} ${senderId} ${tunnel.mux} `)
    .update(tunnel.masterKey)
    .update(tunnel.masterSalt)
    .digest("hex")
    .slice(0, 32);
}
