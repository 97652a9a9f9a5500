/** Counters of control messages inside sessions, as the API shows them. */
import { type ControlCounters, type ControlOutcomeName, controlOutcomes } from "../../channel/outcomes.ts";
import type { OutcomeCount } from "../spec/ports.ts";

/** Every outcome, also those that never happened. */
export function countsOf(counters: ControlCounters): OutcomeCount[] {
  return Object.entries(controlOutcomes).map(([name, { done, help }]) => {
    return { name, help, done, count: counters.get(name as ControlOutcomeName) };
  });
}
