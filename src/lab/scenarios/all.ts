/** Every scenario of the anycast lab by its name. */
import type { Scenario } from "../group_lab.ts";
import { drain } from "./drain.ts";
import { engineDown } from "./engine_down.ts";
import { flip } from "./flip.ts";
import { kill } from "./kill.ts";
import { partition } from "./partition.ts";
import { replay } from "./replay.ts";
import { storm } from "./storm.ts";
import { tour } from "./tour.ts";

export const groupScenarios = {
  tour,
  flip,
  kill,
  drain,
  "engine-down": engineDown,
  partition,
  replay,
  storm,
} as const satisfies Record<string, Scenario>;
export type GroupScenario = keyof typeof groupScenarios;
