/** The contract on the bus of a single node, and what its disk adds. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { afterAll, expect, test } from "vitest";
import { openEmbeddedBus } from "../../src/drivers/embedded_bus.ts";
import { busContract, bytes, Ear } from "./bus.contract.ts";

const folder = mkdtempSync(`${tmpdir()}/anyhop-bus-${process.pid}-`);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 1000 && !condition(); i++) await turn();
  if (!condition()) throw new Error(`waited in vain for ${what}`);
}
busContract("embedded", () => ({
  nodes: 1,
  open: (node, listener) => openEmbeddedBus({ stateDir: folder, scope: "node", node })(listener),
  until,
}));

test("live records are not kept, instances do not see each other's, files are closed to others", async () => {
  const stateDir = `${folder}/two`;
  const open = (scope: string, ear: Ear) => openEmbeddedBus({ stateDir, scope, node: 7 })(ear);
  const first = open("a", new Ear());
  first.put([
    { key: "s.1", value: bytes("live") },
    { key: "t.1", value: bytes("ticket") },
  ]);
  await first.close();
  const [a, b] = [new Ear(), new Ear()];
  const buses = [open("a", a), open("b", b)];
  await until(() => a.caughtUpAt.length + b.caughtUpAt.length === 2, "both");
  expect([[...a.latest], [...b.latest]]).toEqual([[["7 t.1", '"ticket"']], []]);
  expect(statSync(`${stateDir}/bus.mdb`).mode & 0o777).toBe(0o600);
  for (const bus of buses) await bus.close();
});

test("what is on disk is told in slices, so that others have their turn in between, and to nobody after the end", async () => {
  const stateDir = `${folder}/slices`;
  const open = (ear: Ear) => openEmbeddedBus({ stateDir, scope: "a", node: 7 })(ear);
  const first = open(new Ear());
  const key = (n: number) => `c.${String(n).padStart(4, "0")}`;
  first.put(Array.from({ length: 1000 }, (_, n) => ({ key: key(n), value: bytes(`${n}`) })));
  await first.close();
  const ear = new Ear();
  const bus = open(ear);
  let [most, told] = [0, 0];
  for (let n = 0; n < 1000 && !bus.status().caughtUp; n++) {
    await turn();
    most = Math.max(most, ear.latest.size - told);
    told = ear.latest.size;
  }
  expect({ told, most: most <= 128, some: most > 0 }).toEqual({ told: 1000, most: true, some: true });
  await bus.close();
  const late = new Ear();
  const ended = open(late);
  while (late.latest.size === 0) await turn();
  await ended.close();
  const heard = late.latest.size;
  for (let n = 0; n < 50; n++) await turn();
  expect(late.latest.size).toBe(heard);
  expect(late.caughtUpAt).toEqual([]);
});

test("a folder that cannot be used is a sentence that names it", () => {
  writeFileSync(`${folder}/file`, "");
  expect(() => openEmbeddedBus({ stateDir: `${folder}/file/x`, scope: "a", node: 1 })).toThrow(
    expect.objectContaining({ code: "state_dir", message: expect.stringContaining(`${folder}/file/x`) }),
  );
});

test("a folder that goes away before the bus is made does not end the node", async () => {
  const stateDir = `${folder}/gone`;
  const open = openEmbeddedBus({ stateDir, scope: "a", node: 1 });
  rmSync(stateDir, { recursive: true });
  const ear = new Ear();
  const bus = open(ear);
  bus.put([{ key: "c.1", value: bytes("client") }]);
  await until(() => bus.status().caughtUp, "all is told");
  await bus.close();
});
