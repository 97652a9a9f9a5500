/** What a session costs a node of a group: memory of the group's own table, and time to take a record in. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import type { GroupOutput } from "../../src/cluster/group_types.ts";
import { type LiveRecord, recordKey } from "../../src/cluster/record.ts";
import { World } from "./world.ts";

const SESSIONS = 20_000;
/** An eighth of the table is for what a node answers itself. */
const SESSIONS_MAX = 24_000;
/** With what was agreed, and rows that are not used yet. Times are printed and not judged: they are the machine's. */
const BYTES_MAX = 500;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

function memory(): number {
  collect();
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const micros = (act: () => void): number => {
  const start = process.hrtime.bigint();
  act();
  return Number(process.hrtime.bigint() - start) / 1000;
};

test("the memory of a session stays bounded", () => {
  const world = new World(1, [1, 2], { sessionsMax: SESSIONS_MAX });
  const [own, other] = [world.node(1).group, world.node(2).group];
  const template = world.session(1).record;
  const records = Array.from({ length: SESSIONS - 1 }, (_, n): LiveRecord => {
    // Even numbers: the low 15 bits of an index are never all ones.
    return { ...template, index: 2 ** 25 + 2 * n, created: n + 10 };
  });
  const puts: { key: string; value: Uint8Array }[] = [];
  const out: GroupOutput[] = [];
  const before = memory();
  for (const record of records) {
    own.answered(world.now(), record);
    own.flush(world.now(), out);
    out.length = 0;
  }
  const bytes = (memory() - before) / records.length;
  for (const record of records) {
    own.confirmed(world.now(), record.index);
    own.flush(world.now(), out);
    for (const output of out.splice(0)) {
      if (output.kind !== "put") continue;
      for (const { key, value } of output.entries) if (value !== undefined) puts.push({ key, value });
    }
  }
  expect(own.status().sessions).toBe(SESSIONS);
  expect(puts).toHaveLength(records.length);
  expect(puts[0].key).toBe(recordKey(records[0].index));
  const perRecord =
    micros(() => {
      for (const { key, value } of puts) other.busRecord(world.now(), 1, key, value);
      other.flush(world.now(), out);
    }) / puts.length;
  expect(other.status().sessions).toBe(SESSIONS - 1);
  const perTick = micros(() => {
    for (let n = 0; n < 100; n++) other.tick({ ms: world.ms + n, wallMs: world.now().wallMs + n });
  });
  console.log(
    `group: ${bytes.toFixed(0)} B a session, ${perRecord.toFixed(1)} us a record, ${(perTick / 100).toFixed(1)} us a tick`,
  );
  expect(bytes).toBeLessThan(BYTES_MAX);
});
