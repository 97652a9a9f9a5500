/**
 * The control thread of a node hangs while its shard and its lifeline go on: real daemons, and the kernel stops that one
 * thread, as a debugger does. The shard stops delivering, another node takes over, and gets to keep what it took.
 */
import { afterEach, describe, expect, test } from "vitest";
import { Program } from "../../src/bench/netns.ts";
import { GroupWorld, SERVICE } from "../daemon/group_world.ts";
import { until } from "../daemon/session_pair.ts";
import { whyNoNetns } from "../support/netns.ts";

const skip = whyNoNetns({ tun: true });

/** Stops the thread argv[1] of another process (ptrace: SEIZE, INTERRUPT), and no other one, until it ends itself. */
const HOLD = `
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for request in (0x4206, 0x4207):
    if libc.ptrace(request, int(sys.argv[1]), None, None) != 0: sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(int(sys.argv[1]), 0x40000000)
print("held", flush=True)
signal.pause()
`;

describe.skipIf(skip !== undefined)(
  `a control thread that hangs${skip === undefined ? "" : `, skipped: ${skip}`}`,
  () => {
    let world: GroupWorld;
    let holder: Program | undefined;
    afterEach(async () => {
      await holder?.stop("SIGKILL");
      await world?.close();
    });

    test("its shard delivers nothing after a while, another node takes over and keeps what it took", {
      timeout: 240_000,
    }, async () => {
      world = await GroupWorld.create(2, 1);
      const first = await world.start(1);
      const programs = [first, await world.start(2)];
      await world.meet(1, 2);
      await world.startClient(1, SERVICE.v4);
      expect(await world.pings(1, 5)).toBe(5);

      holder = new Program(["python3", "-c", HOLD, String(first.pid)]);
      await until("the thread is held", () => holder!.output.includes("held") || !holder!.alive, [holder]);
      expect(holder.output).toBe("held\n");
      // The shard serves for some seconds more.
      expect(await world.pings(1, 5)).toBe(5);
      await until("it is fenced", async () => (await world.pings(1, 1)) === 0, programs);
      // The lifeline stands all the time.
      expect((await world.peer(2, 1)).lifeline).toMatchObject({ state: "up", cause: null });
      await world.route(2);
      await until("node 2 takes over", async () => (await world.pings(1, 3)) === 3, programs);
      const counted = async (node: number, name: string) =>
        (await world.group(node)).counters.find((one) => one.name === name)!.count;
      expect(await counted(2, "group_proven")).toBe(1);
      expect(await counted(2, "group_forecast")).toBe(0);

      await holder.stop("SIGKILL");
      await until("it knows that it hung", async () => (await counted(1, "group_condemned")) === 1, programs);
      await until(
        "it has heard whose the session is",
        async () => (await world.group(1)).sessions.foreign === 1,
        programs,
      );
      expect((await world.group(2)).sessions).toEqual({ known: 1, own: 1, foreign: 0 });
      expect(await world.pings(1, 5)).toBe(5);
    });
  },
);
