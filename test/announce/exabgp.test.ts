/** Debian's ExaBGP, fed through a pipe as docs/OPERATIONS.md says, seen at a router with docs/samples/bird/router.conf. */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ExabgpDriver } from "../../src/announce/exabgp.ts";
import type { Program } from "../../src/bench/netns.ts";
import { whyNoNetns } from "../support/netns.ts";
import { BirdWorld, PREFIXES } from "./bird_world.ts";

const skip = whyNoNetns({ programs: ["bird", "birdc", "exabgp"] });

describe.skipIf(skip !== undefined)(`exabgp and a router${skip === undefined ? "" : `, skipped: ${skip}`}`, () => {
  let world: BirdWorld;
  let exabgp: Program;
  const start = () => {
    exabgp = world.node.start(["env", "exabgp_daemon_user=root", "exabgp", `${world.dir}/exabgp.conf`]);
  };
  beforeAll(async () => {
    world = await BirdWorld.create();
    const pipe = `${world.dir}/exabgp.in`;
    spawnSync("mkfifo", [pipe]);
    const neighbor = (router: string, own: string, family: string) => `
neighbor ${router} {
  router-id 203.0.113.2;
  local-address ${own};
  local-as 64501;
  peer-as 64500;
  family { ${family} unicast; }
  api { processes [ anyhop ]; }
}`;
    writeFileSync(`${world.dir}/feed`, `#!/bin/sh\nexec cat <>${pipe} 2>/dev/null\n`, { mode: 0o755 });
    writeFileSync(
      `${world.dir}/exabgp.conf`,
      `process anyhop { run ${world.dir}/feed; encoder text; }${neighbor("203.0.113.1", "203.0.113.2", "ipv4")}
${neighbor("2001:db8:51::1", "2001:db8:51::2", "ipv6")}\n`,
    );
    start();
  });
  afterAll(async () => {
    // By itself it also ends the program that reads the pipe.
    await exabgp?.stop("SIGTERM");
    await world?.close();
  });

  test("announce, drain, announce, withdraw; a restarted ExaBGP has the phase again after a refresh", async () => {
    const pipe = `${world.dir}/exabgp.in`;
    const driver = new ExabgpDriver({ pipe, prefixes: PREFIXES, nextHop: { v4: "self", v6: "self" } });
    await world.until("somebody reads the pipe", () =>
      driver.apply("announced").then(
        () => true,
        () => false,
      ),
    );
    await world.seen("normal");
    const times: string[] = [];
    for (const [phase, seen] of [
      ["draining", "drain"],
      ["announced", "normal"],
      ["withdrawn", "none"],
      ["announced", "normal"],
    ] as const) {
      await driver.apply(phase);
      times.push(`${phase} ${(await world.seen(seen)).toFixed(0)} ms`);
    }
    console.log(`at the router: ${times.join(", ")}`);
    await exabgp.stop("SIGTERM");
    await world.seen("none");
    start();
    await world.until("it is refreshed", () =>
      driver.refresh("draining").then(
        () => true,
        () => false,
      ),
    );
    await world.seen("drain");
    expect(exabgp.alive).toBe(true);
  });
});
