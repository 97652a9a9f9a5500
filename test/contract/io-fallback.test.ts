/**
 * The addon as on an old kernel, without any offload: the whole contract again, and what `offloads` says. The mixed case
 * (each offload off by itself) is in test/offload/tunnel.test.ts, through whole daemons.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Pair } from "../../src/bench/netns.ts";
import { createMemory } from "../../src/dataplane/batch.ts";
import { createNativeIo, enterNetns, type NativeIo } from "../../src/drivers/native.ts";
import { offloadsSwitchedOff } from "../../src/drivers/native_offloads.ts";
import { HOME_NETNS, whyNoNetns } from "../support/netns.ts";
import { ioContract } from "./io.contract.ts";
import { createIoPair, nativeRig } from "./native_rig.ts";

const reason = whyNoNetns({ tun: true });

it("switches off what the environment names, and nothing else", () => {
  expect(offloadsSwitchedOff({})).toEqual([]);
  expect(offloadsSwitchedOff({ ANYHOP_WITHOUT: "socket-send,device-udp" })).toEqual(["device-udp", "socket-send"]);
  expect(offloadsSwitchedOff({ ANYHOP_WITHOUT: "all" })).toHaveLength(4);
  expect(() => offloadsSwitchedOff({ ANYHOP_WITHOUT: "tso" })).toThrow(/names "tso".*device-tcp, device-udp/);
});

describe.skipIf(reason !== undefined)(`without offloads${reason === undefined ? "" : ` (skipped: ${reason})`}`, () => {
  let pair: Pair;
  let io: NativeIo;
  const memory = createMemory();

  beforeAll(async () => {
    pair = await createIoPair("old");
    io = createNativeIo(memory, { without: offloadsSwitchedOff({ ANYHOP_WITHOUT: "all" }) });
  });
  afterAll(async () => {
    io?.close();
    enterNetns(HOME_NETNS);
    await pair?.close();
  });

  it("says what is not open yet", () => {
    expect(io.offloads().map(({ on, why }) => [on, why])).toEqual([
      [false, "No device is open."],
      [false, "No device is open."],
      [false, "No socket is open."],
      [false, "No socket is open."],
    ]);
  });

  describe("contract", () => {
    ioContract(async () => nativeRig(pair, io, memory));
  });

  it("says that all are switched off", () => {
    expect(io.offloads().every(({ on, why }) => !on && /^Switched off/.test(why))).toBe(true);
  });
});
