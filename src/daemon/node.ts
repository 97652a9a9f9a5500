/** A node in the foreground: an instance with sessions, the client book, its announcer, and the control API over it. */

import { EventHub } from "../control/asked/event_hub.ts";
import type { LogLevel } from "../control/asked/log_level.ts";
import { NO_IDENTITY } from "../control/config/config_file.ts";
import type { NodeGroup } from "../control/group/node_group.ts";
import { NodeEnd } from "../control/node/node_end.ts";
import { NodeControl } from "../control/operate/node_control.ts";
import type { NodeSpec } from "../control/spec/instance.ts";
import { entropyOf } from "../crypto/entropy.ts";
import { useNativeHandshake } from "../drivers/native_handshake.ts";
import { nativePairOf } from "../drivers/native_x25519.ts";
import { openStore } from "../drivers/store.ts";
import { type AnnounceParts, createAnnouncing } from "./announce.ts";
import { systemClock } from "./clock.ts";
import { readConfigFile } from "./config_reader.ts";
import { prepareGroup } from "./group.ts";
import { keepHeapSmall } from "./heap.ts";
import { type InstanceHooks, runInstance } from "./instance.ts";
import { warmUpGroup } from "./warm_up_group.ts";
import { warmUpSessions } from "./warm_up_sessions.ts";

/** For handing sessions over when the daemon is stopped without a drain. */
const LEAVE_MS = 1000;
/** A node that knows nothing yet would send clients away that others know; one that is alone must serve all the same. */
const INFORMED_MS = 10_000;

export async function runNode(spec: NodeSpec, file: string, level: LogLevel, hooks: InstanceHooks): Promise<number> {
  keepHeapSmall();
  const { instance } = spec;
  const { log } = hooks;
  const store = openStore(instance.stateDir, instance.name);
  useNativeHandshake();
  if (spec.cluster !== undefined && spec.cluster.identity === undefined) log.warning("identity", NO_IDENTITY);
  const entropy = entropyOf(nativePairOf);
  const events = new EventHub(systemClock);
  warmUpSessions(entropy);
  if (spec.cluster !== undefined) warmUpGroup(entropy);
  const join = spec.cluster && (await prepareGroup(spec, spec.cluster, { log, entropy, store, events }));
  let group: NodeGroup | undefined;
  const sessions = new NodeEnd(spec, {
    ...{ clock: systemClock, log, entropy, store, pairOf: nativePairOf, events },
    ...(join && {
      join: (node: NodeEnd) => {
        group = join(node);
        return group;
      },
    }),
  });
  let control: NodeControl | undefined;
  let announce: AnnounceParts | undefined;
  let leaving = false;
  process.on("SIGHUP", () => {
    control?.reload().catch((error: Error) => log.error("reload", error.message));
  });
  const code = await runInstance(instance, hooks, {
    sessions,
    store,
    control(supervisor) {
      const tell = (event: string, message: string) => control?.tell(event, message);
      announce = createAnnouncing(spec, { supervisor, sessions, group, tell, log });
      control = new NodeControl(spec, {
        ...{ clock: systemClock, log, level, store, sessions, announcing: announce.announcing, events, group },
        readFile: () => readConfigFile(file),
        deviceName: () => supervisor.deviceName,
      });
      return control;
    },
    arrive: async () => announce?.arrive(),
    serve: async () => {
      await group?.informed(INFORMED_MS);
      if (!leaving) announce?.announcing.start();
    },
    leave: async () => {
      leaving = true;
      await announce?.leave();
      // Clients that nobody sent away go on at other nodes without a question.
      await group?.leave(LEAVE_MS);
    },
  });
  announce?.close();
  return code;
}
