/** What a rehearsal is for happens in it: every session moves, every packet arrives, no key is refused. */
import { expect, test } from "vitest";
import { warmUp } from "../../src/daemon/warm_up.ts";
import { warmUpWindows } from "../../src/daemon/warm_up_windows.ts";
import { createMemory } from "../../src/dataplane/batch.ts";
import { createTwinCrypto } from "../../src/drivers/twin_crypto.ts";

test("each move of the windows gives both packets to the device", () => {
  const memory = createMemory();
  const { sent, arrived } = warmUpWindows(memory, createTwinCrypto(memory));
  expect(sent).toBe(600);
  expect(arrived).toBe(sent);
});

test("a driver that refuses keys is an error, not a rehearsal of nothing", () => {
  const memory = createMemory();
  const crypto = { ...createTwinCrypto(memory), setAead: () => -22, setSatp: () => -12 };
  expect(() => warmUpWindows(memory, crypto)).toThrow("The key of row 0 was refused: errno 22.");
  expect(() => warmUp(memory, crypto)).toThrow("The key of row 0 was refused: errno 12.");
});
