/**
 * kill -9 at 200 random moments of a process that writes without a pause: whatever it had acknowledged is there, and no
 * commit is there by half.
 */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, resolve } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openStore } from "../../src/drivers/store.ts";
import { Prng } from "../support/prng.ts";

const KILLS = 200;
const WRITERS = 2;
/** The longest life after the first acknowledgement: some dozens of commits. */
const LIFE_MS_MAX = 20;

const root = resolve(import.meta.dirname, "../..");
let folder: string;
let compiled: string;

beforeAll(() => {
  folder = mkdtempSync(`${tmpdir()}/anyhop-kill-${process.pid}-`);
  // A child has no vitest around it: the store is compiled once, beside the packages that it needs.
  for (const file of ["drivers/store", "drivers/folders", "drivers/lmdb_files", "base/errors"]) {
    const { outputText } = ts.transpileModule(readFileSync(`${root}/src/${file}.ts`, "utf8"), {
      compilerOptions: {
        module: ts.ModuleKind.ESNext,
        target: ts.ScriptTarget.ES2023,
        rewriteRelativeImportExtensions: true,
        verbatimModuleSyntax: true,
      },
    });
    mkdirSync(dirname(`${folder}/${file}`), { recursive: true });
    writeFileSync(`${folder}/${file}.js`, outputText);
  }
  writeFileSync(`${folder}/package.json`, '{"type":"module"}');
  symlinkSync(`${root}/node_modules`, `${folder}/node_modules`);
  compiled = `${folder}/drivers/store.js`;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** One life of a writer; the last number that it acknowledged. */
function liveAndDie(state: string, lifeMs: number): Promise<number> {
  return new Promise((done, reject) => {
    const child = spawn(process.execPath, [`${root}/test/store/kill_child.mjs`, compiled, state], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let said = "";
    child.stdout.on("data", (chunk) => {
      if (said === "") setTimeout(() => child.kill("SIGKILL"), lifeMs);
      said += chunk;
    });
    child.on("error", reject);
    child.on("close", (_code, signal) => {
      const lines = said.split("\n").slice(0, -1);
      if (signal === "SIGKILL") done(Number(lines.at(-1)));
      else reject(new Error("the writer ended by itself"));
    });
  });
}

async function judge(state: string, acknowledged: number): Promise<number> {
  const store = openStore(state, "node");
  const next = store.next("id");
  // What came after the last acknowledgement may be there, in the order in which it was written.
  const gone = store.clients().filter(({ name }) => name.startsWith("gone"));
  expect(gone.length).toBe(1);
  const rest = [
    store.client("a")!.createdMs,
    gone[0].createdMs,
    Number(store.highWater("mark")),
    store.ticketKeys()[0].id,
  ];
  const all = [next, ...rest];
  expect(acknowledged).toBeGreaterThan(0);
  expect(Math.min(...all)).toBeGreaterThanOrEqual(acknowledged);
  expect(next).toBeLessThanOrEqual(acknowledged + 1);
  expect(all).toEqual(all.toSorted((x, y) => y - x));
  // Two records of one commit are of the same age, and a replaced list is whole.
  expect(store.client("b")!.createdMs).toBe(store.client("a")!.createdMs);
  const keys = store.ticketKeys();
  expect(keys.map(({ id, key }) => [id, ...key])).toEqual([0, 1].map((n) => [keys[0].id + n, keys[0].id & 255]));
  await store.close();
  return next;
}

test(`${KILLS} kills lose nothing that was acknowledged`, { timeout: 240_000 }, async () => {
  const random = new Prng(0x6b696c6c);
  const writers = Array.from({ length: WRITERS }, async (_, writer) => {
    const state = `${folder}/state${writer}`;
    let last = 0;
    for (let kill = 0; kill < KILLS / WRITERS; kill++) {
      const acknowledged = await liveAndDie(state, random.nextBelow(LIFE_MS_MAX));
      expect(acknowledged).toBeGreaterThan(last);
      last = await judge(state, acknowledged);
    }
  });
  await Promise.all(writers);
});
