/** The parts of `npm run bench -- group`, one after the other, and what they say as text. */
import { type Finding, measureStorm, measureSync } from "./group.ts";
import { measureKills, measureWithoutEngine } from "./group_failover.ts";
import { measureJoin } from "./group_join.ts";
import { measureSpeed } from "./group_speed.ts";

const STORM_SESSIONS = 10_000;
const JOIN_SESSIONS = 100_000;
const SPEED_ROUNDS = 5;
const SPEED_S = 3;

/** Prints each part when it is measured. */
export async function reportGroup(
  only: string | undefined,
  sessions: number | undefined,
  kills: number,
  print: (text: string) => void,
): Promise<void> {
  const parts: Readonly<Record<string, () => Promise<Finding[]>>> = {
    // With few sessions this is mostly what nodes say without any.
    sync: async () => [...(await measureSync(200, 10)), ...(await measureSync(10, 10))],
    storm: () => measureStorm(sessions ?? STORM_SESSIONS, 3),
    join: () => measureJoin(sessions ?? JOIN_SESSIONS),
    speed: () => measureSpeed(SPEED_ROUNDS, SPEED_S),
    failover: async () => [...(await measureKills(kills)), ...(await measureWithoutEngine(kills))],
  };
  for (const [name, measure] of Object.entries(parts)) {
    if (only !== undefined && only !== name) continue;
    print(`${name}:`);
    for (const finding of await measure()) print(`  ${line(finding)}`);
  }
}

function line({ what, value, unit, goal, more }: Finding): string {
  const verdict = goal === undefined ? "" : value <= goal ? ` (goal ${goal}: met)` : ` (goal ${goal}: MISSED)`;
  return `${what}: ${value.toFixed(value < 100 ? 1 : 0)} ${unit}${verdict}; ${more}`;
}
