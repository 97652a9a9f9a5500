/** The contract on both stores, and what only the one on disk can do wrong. */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { open as openLmdb } from "lmdb";
import { afterAll, beforeEach, expect, test } from "vitest";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";
import { openStore } from "../../src/drivers/store.ts";
import { sampleClient, storeContract } from "./store.contract.ts";

const folders: string[] = [];
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(`${tmpdir()}/anyhop-store-${process.pid}-`);
  folders.push(folder);
});
afterAll(() => {
  for (const each of folders) rmSync(each, { recursive: true, force: true });
});

storeContract("in memory", createMemoryStore);
storeContract(
  "on disk",
  () => openStore(`${folder}/a/b/state`, "node"),
  async (store) => {
    await store.close();
    return openStore(`${folder}/a/b/state`, "node");
  },
);

test("files and folder are closed to others", async () => {
  const store = openStore(`${folder}/state`, "node");
  expect(statSync(`${folder}/state`).mode & 0o777).toBe(0o700);
  const files = readdirSync(`${folder}/state`);
  expect(files.sort()).toEqual(["seq.mdb", "seq.mdb-lock"]);
  for (const file of files) expect([file, statSync(`${folder}/state/${file}`).mode & 0o777]).toEqual([file, 0o600]);
  await store.close();
});

test("instances that share a folder share numbers, not clients", async () => {
  const [a, b] = [openStore(folder, "a"), openStore(folder, "b")];
  a.changeClients([sampleClient("anna")], []);
  a.reserve(new Map([["identity", 9]]));
  expect([b.clients(), b.next("identity")]).toEqual([[], 9]);
  await a.close();
  await b.close();
});

test("numbers that were reserved before there were other records are still there", async () => {
  const plain = openLmdb({ path: `${folder}/seq.mdb`, mapSize: 64 * 1024 * 1024 });
  plain.putSync("0123456789abcdef0123456789abcdef", 77);
  await plain.close();
  const store = openStore(folder, "node");
  expect(store.next("0123456789abcdef0123456789abcdef")).toBe(77);
  await store.close();
});

test("more than the first map holds", async () => {
  const store = openStore(folder, "node");
  const long = Array.from({ length: 60 }, (_, i) => `2001:db8:${i}::/48`);
  const clients = Array.from({ length: 80_000 }, (_, i) => sampleClient(`c${i}`, { prefixes: long }));
  store.changeClients(clients, []);
  expect(statSync(`${folder}/seq.mdb`).size).toBeGreaterThan(64 * 1024 * 1024);
  expect(store.client("c79999")).toEqual(clients[79_999]);
  await store.close();
});

test("a folder that cannot be used is a sentence that says why it matters", () => {
  writeFileSync(`${folder}/file`, "");
  // In /proc nothing can be made, and Node's own recursive mkdir never returns.
  for (const path of [`${folder}/file/state`, "/proc/anyhop", "/proc/anyhop/a/b"])
    expect(() => openStore(path, "node")).toThrow(
      expect.objectContaining({ code: "state_dir", message: expect.stringContaining(path) }),
    );
});
