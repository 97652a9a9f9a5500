/**
 * One contract for all drivers, on the real thing: Debian's BIRD with a router behind it, a named pipe with a reader in
 * ExaBGP's place, a program. Each says what was seen at the other side, update by update.
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { BirdDriver } from "../../src/announce/bird.ts";
import { CommandDriver } from "../../src/announce/command.ts";
import { createDriver } from "../../src/announce/drivers.ts";
import { ExabgpDriver } from "../../src/announce/exabgp.ts";
import type { AnnounceSpec, Phase } from "../../src/announce/spec.ts";
import type { Driver } from "../../src/announce/steering.ts";
import { type Program, sleep } from "../../src/bench/netns.ts";
import { whyNoNetns } from "../support/netns.ts";
import { BirdWorld, PREFIXES } from "./bird_world.ts";
import { NO_ANNOUNCE } from "./parts.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(`${tmpdir()}/anyhop-driver-`);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));
const spec = (change: Partial<AnnounceSpec>): AnnounceSpec => ({ ...NO_ANNOUNCE, prefixes: PREFIXES, ...change });
const codeOf = (action: Promise<unknown>): Promise<string> =>
  action.then(
    () => "",
    (error: { code?: string }) => error.code ?? String(error),
  );

interface Side {
  readonly driver: Driver;
  /** What the other side has now. */
  phase(): Promise<Phase | undefined>;
  /** Nobody is at the other side any more; and somebody new is. */
  leave(): Promise<void>;
  comeBack(): Promise<void>;
  close(): Promise<void>;
  readonly awayCode: string;
}

function contract(name: string, skip: string | undefined, make: () => Promise<Side>): void {
  describe.skipIf(skip !== undefined)(`${name}${skip === undefined ? "" : `, skipped: ${skip}`}`, () => {
    let side: Side;
    beforeEach(async () => {
      side = await make();
    });
    afterEach(() => side.close());

    test("every phase from every phase, and twice", async () => {
      const phases = ["withdrawn", "announced", "draining"] as const;
      for (const from of phases)
        for (const to of phases) {
          await side.driver.apply(from);
          await side.driver.apply(to);
          await expect.poll(async () => [from, to, await side.phase()]).toEqual([from, to, to]);
        }
    });

    test("nobody at the other side: a named error; back again: works, by the same driver", async () => {
      await side.driver.apply("announced");
      await side.leave();
      expect(await codeOf(side.driver.apply("draining"))).toBe(side.awayCode);
      await side.comeBack();
      await side.driver.apply("announced");
      await expect.poll(() => side.phase()).toBe("announced");
    });
  });
}

const noBird = whyNoNetns({ programs: ["bird", "birdc"] });
let world: BirdWorld;
beforeAll(async () => {
  if (noBird === undefined) world = await BirdWorld.create();
});
afterAll(async () => world?.close());

contract("bird", noBird, async () => {
  await world.startBird("node");
  const driver = new BirdDriver(birdSpec(), () => {});
  return {
    driver,
    async phase() {
      const states = await world.birdc("node", "show protocols");
      const up = (protocol: string) => new RegExp(`^${protocol} +Direct +\\S+ +up`, "m").test(states);
      const both = (a: string, b: string) => [up(a), up(b)].join();
      if (both("any4", "any6") === "true,true" && both("drain4", "drain6") === "false,false") return "announced";
      if (both("any4", "any6") === "false,false" && both("drain4", "drain6") === "true,true") return "draining";
      return both("any4", "any6") + both("drain4", "drain6") === "false,falsefalse,false" ? "withdrawn" : undefined;
    },
    leave: () => world.stopBird("node", "SIGKILL"),
    comeBack: async () => void (await world.startBird("node")),
    async close() {
      driver.close();
      await world.stopBird("node", "SIGTERM");
    },
    awayCode: "bird_unreachable",
  };
});
const birdSpec = (change: Partial<AnnounceSpec> = {}) =>
  spec({
    ...{ kind: "bird", socket: world.nodeSocket, timeoutMs: 30_000 },
    ...{ protocols: ["any4", "any6"], drainProtocols: ["drain4", "drain6"] },
    ...change,
  });

describe.skipIf(noBird !== undefined)("bird and a router", () => {
  let driver: BirdDriver;
  let lost: number;
  let bird: Program;
  beforeEach(async () => {
    bird = await world.startBird("node");
    lost = 0;
    driver = new BirdDriver(birdSpec(), () => {
      lost += 1;
    });
    await world.node.ip("tuntap", "add", "dev", "anyc7", "mode", "tun");
    for (const prefix of PREFIXES) await world.node.ip("addr", "add", prefix, "dev", "anyc7", "nodad");
    await world.node.ip("link", "set", "anyc7", "up");
    await world.established();
  });
  afterEach(async () => {
    driver.close();
    await world.stopBird("node", "SIGTERM");
    await world.node.ip("link", "del", "anyc7");
  });

  test("announce, drain, announce, withdraw at the router; between them it is never without a route", async () => {
    await driver.apply("announced");
    await world.seen("normal");
    const times: string[] = [];
    const watch = world.router.start(["ip", "-o", "monitor", "route"]);
    await sleep(200);
    for (const [phase, seen] of [
      ["draining", "drain"],
      ["announced", "normal"],
      ["draining", "drain"],
    ] as const) {
      const begin = performance.now();
      await driver.apply(phase);
      const asked = performance.now() - begin;
      const ms = (await world.seen(seen)) + asked;
      times.push(`${phase} ${ms.toFixed(1)} ms (commands ${asked.toFixed(1)} ms)`);
    }
    expect(watch.output).not.toContain("Deleted");
    await driver.apply("withdrawn");
    await world.seen("none");
    await world.until("the kernel's route is gone", () => /Deleted 192\.0\.2\.1/.test(watch.output));
    await watch.stop();
    console.log(`at the router: ${times.join(", ")}`);
  });

  test("the router prefers any other node while this one drains", async () => {
    await driver.apply("draining");
    await world.seen("drain");
    for (const prefix of PREFIXES)
      expect(await world.birdc("router", `show route ${prefix} all`)).toMatch(/BGP\.local_pref: 0\n/);
  });

  test("the device goes away: withdrawn, announced or draining, though the protocols stay enabled", async () => {
    for (const phase of ["announced", "draining"] as const) {
      await driver.apply(phase);
      await world.seen(phase === "announced" ? "normal" : "drain");
      await world.node.ip("link", "del", "anyc7");
      await world.seen("none");
      await world.node.ip("tuntap", "add", "dev", "anyc7", "mode", "tun");
      for (const prefix of PREFIXES) await world.node.ip("addr", "add", prefix, "dev", "anyc7", "nodad");
      await world.node.ip("link", "set", "anyc7", "up");
    }
  });

  test("silent death of the node: BFD withdraws long before the hold time", async () => {
    await driver.apply("announced");
    await world.seen("normal");
    // No carrier change and no last word: the node's BIRD just stands still.
    bird.child.kill("SIGSTOP");
    try {
      const ms = await world.seen("none");
      console.log(`silent death: withdrawn at the router after ${ms.toFixed(0)} ms`);
      // The reason is the proof: the hold time is 90 s, and would be another one.
      expect(await world.birdc("router", "show protocols all")).toContain("BFD session down");
    } finally {
      bird.child.kill("SIGCONT");
    }
  });

  test("the end of BIRD is noticed at once; a change by somebody else at the refresh", async () => {
    await driver.apply("announced");
    expect(await driver.refresh("announced")).toBe(false);
    await world.birdc("node", "disable any6");
    // BIRD answers before it has done it.
    await world.until("BIRD has disabled it", async () =>
      /any6 .* down /.test(await world.birdc("node", "show protocols")),
    );
    expect(await driver.refresh("announced")).toBe(true);
    expect(await driver.refresh("announced")).toBe(false);
    await world.stopBird("node", "SIGKILL");
    await world.until("the driver says so", () => lost === 1);
    expect(await codeOf(driver.refresh("announced"))).toBe("bird_unreachable");
    await world.startBird("node");
    expect(await driver.refresh("announced")).toBe(true);
  });

  test("a protocol that BIRD does not have is named", async () => {
    const other = new BirdDriver(birdSpec({ protocols: ["any5"] }), () => {});
    await expect(other.apply("announced")).rejects.toThrow("BIRD has no protocol any5");
    other.close();
  });
});

describe("what is not BIRD", () => {
  let server: Server;
  /** Says the one at once and the other to each command. */
  const listen = (greeting: string, reply: string) =>
    new Promise<BirdDriver>((resolve) => {
      server = createServer((socket) => {
        socket.on("error", () => {});
        socket.on("data", () => socket.write(reply));
        socket.write(greeting);
      });
      const socket = `${dir}/x.ctl`;
      const bird = spec({ socket, protocols: ["any4"], timeoutMs: 200 });
      server.listen(socket, () => resolve(new BirdDriver(bird, () => {})));
    });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  const GREETING = "0001 BIRD 2.0.12 ready.\n";
  test.each([
    ["another program", "220 mail.example.net ESMTP\r\n", "", "bird_answer"],
    ["another greeting", "8007 Access denied\n", "", "bird_answer"],
    ["silence", "", "", "bird_timeout"],
    ["silence after the greeting", GREETING, "", "bird_timeout"],
    ["half an answer", GREETING, "0011-any4: enabled\n", "bird_timeout"],
    ["another language", GREETING, "OK\n", "bird_answer"],
    ["a refusal", GREETING, "8007 Access denied\n", "bird_refused"],
  ])("%s", async (_what, greeting, reply, code) => {
    const driver = await listen(greeting, reply);
    const got = await codeOf(driver.apply("announced"));
    driver.close();
    expect(got).toBe(code);
  });
});

contract("exabgp", existsSync("/usr/bin/mkfifo") ? undefined : "mkfifo is missing", async () => {
  const pipe = `${dir}/exabgp.in`;
  spawnSync("mkfifo", [pipe]);
  const routes = new Map<string, Phase>();
  let fd = -1;
  const open = () => {
    fd = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  };
  open();
  return {
    driver: new ExabgpDriver(spec({ kind: "exabgp", pipe, nextHop: { v4: "self", v6: "2001:db8:51::2" } })),
    async phase() {
      const buffer = Buffer.alloc(65536);
      const text = buffer.toString("utf8", 0, readSync(fd, buffer));
      for (const line of text.trimEnd().split("\n")) {
        const [, verb, prefix, hop, community] =
          /^(announce|withdraw) route (\S+) next-hop (\S+)(?: community (\S+))?$/.exec(line)!;
        expect(hop).toBe(prefix.includes(":") ? "2001:db8:51::2" : "self");
        if (verb === "withdraw") routes.set(prefix, "withdrawn");
        else routes.set(prefix, community === "[65535:0]" ? "draining" : "announced");
      }
      expect([...routes.keys()]).toEqual(PREFIXES);
      const phases = new Set(routes.values());
      return phases.size === 1 ? [...phases][0] : undefined;
    },
    async leave() {
      closeSync(fd);
    },
    async comeBack() {
      open();
    },
    async close() {
      closeSync(fd);
    },
    awayCode: "exabgp_unreachable",
  };
});

const program = (body: string): string => {
  const path = `${dir}/hook`;
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
};

contract("command", undefined, async () => {
  const command = program(`echo "$1" > ${dir}/said`);
  const driver = createDriver(spec({ kind: "command", command }), "node", "/usr/bin:/bin", () => {});
  const phases: Record<string, Phase> = { announce: "announced", drain: "draining", withdraw: "withdrawn" };
  return {
    driver,
    phase: async () => phases[readFileSync(`${dir}/said`, "utf8").trim()],
    leave: async () => rmSync(command),
    comeBack: async () => void program(`echo "$1" > ${dir}/said`),
    close: async () => driver.close(),
    awayCode: "announce_command",
  };
});

describe("command", () => {
  const driver = (body: string, change: Partial<AnnounceSpec> = {}) =>
    new CommandDriver(spec({ kind: "command", command: program(body), ...change }), "vienna", "/usr/bin:/bin");

  test("its environment is what is documented, and nothing else", async () => {
    await driver(`env | grep -v '^PWD=\\|^_=\\|^SHLVL=\\|^OLDPWD=' | sort > ${dir}/env`, { device: "anyc0" }).apply(
      "draining",
    );
    expect(readFileSync(`${dir}/env`, "utf8").trimEnd().split("\n")).toEqual([
      "ANYHOP_ANNOUNCE=drain",
      "ANYHOP_ANNOUNCE_DEVICE=anyc0",
      "ANYHOP_INSTANCE=vienna",
      "ANYHOP_PREFIXES=192.0.2.1/32 2001:db8::1/128",
      "PATH=/usr/bin:/bin",
    ]);
  });

  test("its complaint is told; without one its status", async () => {
    await expect(driver("echo no router >&2; exit 3").apply("announced")).rejects.toThrow(
      "announce failed: no router.",
    );
    await expect(driver("exit 3").apply("withdrawn")).rejects.toThrow("withdraw failed: status 3.");
  });

  test("its time limit ends it and what it has started", async () => {
    const slow = driver(`sleep 100 & echo $! > ${dir}/pid; wait`, { timeoutMs: 300 });
    await expect(slow.apply("announced")).rejects.toThrow("had not ended after 0.3 s and was killed");
    const pid = Number(readFileSync(`${dir}/pid`, "utf8"));
    for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(10))
      if (!existsSync(`/proc/${pid}`) || /State:\s+Z/.test(readFileSync(`/proc/${pid}/status`, "utf8"))) return;
    throw new Error("its child still runs");
  });
});
