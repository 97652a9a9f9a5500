/**
 * A client that is killed between every two changes of its host, and one whose device is deleted: the next start and stop leave
 * the host as it was, IPv4 and IPv6. A stand-in for `ip` makes the changes one by one and kills the daemon before one of them.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findProgram, type Namespace, type Program } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";
import { whyNoNetns } from "../support/netns.ts";
import { INNER_NODE, SessionPair, until } from "./session_pair.ts";

const why = whyNoNetns({ tun: true, programs: ["ping"] });
/** More than there are changes; the round in which nobody is killed is the last one. */
const STEPS_MAX = 30;

describe.skipIf(why !== undefined)(`a client that crashes${why === undefined ? "" : ` (${why})`}`, () => {
  let world: SessionPair;
  let host: Namespace;
  let before = "";
  const left = async () => `${await host.ip("-4", "route")}${await host.ip("-6", "route")}${await host.ip("rule")}`;
  const blocked = async () => (await left()).match(/unreachable/g)?.length ?? 0;

  beforeAll(async () => {
    world = await SessionPair.create("crash");
    host = world.pair.right;
    await world.invite("anna");
    world.change("anna", (text) => text.replace(/routes = .*/, 'routes = ["default"]\nkill_switch = true'));
    await world.startNode();
    await host.ip("route", "add", "default", "via", "192.0.2.1");
    await host.ip("-6", "route", "add", "default", "via", "2001:db8::1");
    before = await left();
    const real = findProgram("ip")!;
    mkdirSync(`${world.dir}/bin`);
    writeFileSync(
      `${world.dir}/bin/ip`,
      `#!/bin/sh
[ "$1" = -force ] || exec ${real} "$@"
while read -r line; do
  n=$(($(cat ${world.dir}/count) + 1)); echo $n >${world.dir}/count
  if [ $n = "$(cat ${world.dir}/limit)" ]; then kill -9 $PPID; exit 1; fi
  ${real} $line
done
`,
      { mode: 0o755 },
    );
  });
  afterAll(() => world?.close());

  const running = (program: Program) => / has .*, routes /.test(program.output);

  test("killed before each change of its set-up and of its end", async () => {
    let step = 1;
    for (; step <= STEPS_MAX; step++) {
      for (const [name, value] of [
        ["count", 0],
        ["limit", step],
      ])
        writeFileSync(`${world.dir}/${name}`, `${value}\n`);
      const path = `PATH=${world.dir}/bin:${process.env["PATH"]}`;
      const victim = host.start(["env", path, ANYHOP, "run", world.file("anna"), "--log", "stderr:5"]);
      await until("it is up, or killed", () => running(victim) || !victim.alive, [victim]);
      // Lives: the change is one of its end.
      await victim.stop();
      const next = await world.startClient("anna");
      expect(await world.pings(host, INNER_NODE.v4), `step ${step}`).toBe(true);
      await next.stop();
      expect(next.exitCode).toBe(0);
      expect(await left(), `killed before change ${step}`).toBe(before);
      if (Number(readFileSync(`${world.dir}/count`, "utf8")) < step) break;
    }
    expect(step).toBeGreaterThan(15);
    expect(step).toBeLessThan(STEPS_MAX);
  }, 600_000);

  test("its device is deleted: it ends and says so, the kill switch stays, and the next stop takes it back", async () => {
    const client = await world.startClient("anna");
    expect(await blocked()).toBe(4);
    const [, device] = /(tun\d+) has/.exec(client.output)!;
    await host.ip("link", "del", device!);
    await until("it ends", () => !client.alive, [client]);
    await client.ended;
    expect(client.exitCode).toBe(1);
    expect(await blocked()).toBe(4);
    expect((await host.run(["ip", "route", "get", "198.51.100.9"])).code).not.toBe(0);
    const next = await world.startClient("anna");
    expect(await world.pings(host, INNER_NODE.v6)).toBe(true);
    await next.stop();
    expect(await left()).toBe(before);
  });

  test("a kill switch that was taken out of the file is taken back by the next start", async () => {
    const client = await world.startClient("anna");
    await client.stop("SIGKILL");
    expect(await blocked()).toBe(4);
    world.change("anna", (text) =>
      text.replace('routes = ["default"]\nkill_switch = true', 'routes = ["10.9.0.0/24"]'),
    );
    const next = await world.startClient("anna");
    expect(await blocked()).toBe(0);
    expect(await host.ip("route", "show", "proto", "145")).toBe("");
    await next.stop();
    expect(await left()).toBe(before);
  });
});
