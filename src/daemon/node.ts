/** A node in the foreground: an instance with sessions, the client book and the control API over it. */
import { parseFile } from "../control/config_file.ts";
import type { NodeSpec } from "../control/instance.ts";
import type { LogLevel } from "../control/log_level.ts";
import { NodeControl } from "../control/node_control.ts";
import { NodeEnd } from "../control/node_end.ts";
import { systemEntropy } from "../crypto/entropy.ts";
import * as configEnv from "../drivers/config_env.ts";
import { openStore } from "../drivers/store.ts";
import { systemClock } from "./clock.ts";
import { collectGarbage, keepYoungGenerationSmall } from "./heap.ts";
import { type InstanceHooks, runInstance } from "./instance.ts";

export async function runNode(spec: NodeSpec, file: string, level: LogLevel, hooks: InstanceHooks): Promise<number> {
  keepYoungGenerationSmall();
  const { instance } = spec;
  const { log } = hooks;
  const store = openStore(instance.stateDir, instance.name);
  const sessions = new NodeEnd(spec, { clock: systemClock, log, entropy: systemEntropy, store });
  let control: NodeControl | undefined;
  process.on("SIGHUP", () => {
    control?.reload().catch((error: Error) => log.error("reload", error.message));
  });
  return runInstance(instance, hooks, {
    sessions,
    store,
    control(supervisor) {
      control = new NodeControl(spec, {
        ...{ clock: systemClock, log, level, store, sessions },
        readFile: () => parseFile(configEnv.readText(file) ?? "", file, configEnv),
        deviceName: () => supervisor.deviceName,
      });
      collectGarbage();
      return control;
    },
  });
}
