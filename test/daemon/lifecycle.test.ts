/**
 * How the daemon starts and ends, as its operator sees it: exit codes, sentences, and what is left behind. Exit code 2
 * says that the command line or the configuration is wrong, 1 that the machine did not let it run.
 */
import { access, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createPair, type Output, type Pair, run } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";
import { commandOf, DEFAULTS, DEVICE, deviceReady, end, scratch, socketOf, startEnd } from "../interop/tunnel.ts";
import { readStatus } from "./status.ts";

let pair: Pair;

beforeAll(async () => {
  pair = await createPair("life");
});
afterAll(() => pair?.close());

const left = end("left", "anyhop", DEFAULTS);

/** Runs a daemon that is expected to give up by itself, with further options. */
async function failing(...extra: string[]): Promise<Output> {
  return pair.left.run(commandOf("left", { ...left, extra }, DEFAULTS, await scratch()));
}

/** One sentence on stderr and no stack trace. */
function expectSentence(output: Output, code: number, ...patterns: RegExp[]): void {
  expect(output).toMatchObject({ code });
  for (const pattern of patterns) expect(output.stderr).toMatch(pattern);
  expect(output.stderr).not.toMatch(/\n\s+at /);
  expect(output.stderr.trim().split("\n").length).toBeLessThan(6);
}

describe("the command line is wrong: exit code 2", () => {
  const cases: readonly (readonly [string, readonly string[], RegExp])[] = [
    ["a prefix length beyond 32", ["-n", "10.9.0.1/33"], /10\.9\.0\.1\/33/],
    ["an address that is none", ["-n", "10.9.0/24"], /10\.9\.0\/24/],
    ["a cipher that is none", ["-c", "aes-cbc"], /aes-ctr-128.*aes-cbc/],
    ["a role that is none", ["-e", "middle"], /left.*middle/],
    ["a key that is not hexadecimal", ["-K", "00zz"], /hex/i],
    ["a mux beyond 16 bits", ["-m", "70000"], /65535.*70000/],
    ["a port beyond 16 bits", ["-p", "70000"], /65535.*70000/],
    ["a device type that is none", ["-t", "tin"], /tun.*tin|tin.*tun/],
    ["a misspelt option", ["--sender-di", "1"], /sender-di.*sender-id/s],
  ];
  for (const [name, extra, pattern] of cases) {
    test(name, async () => expectSentence(await failing(...extra), 2, pattern));
  }

  test("a configuration file that is not there", async () => {
    const output = await run([ANYHOP, "run", "/nonexistent/anyhop.toml"]);
    expectSentence(output, 2, /\/nonexistent\/anyhop\.toml/);
  });
});

describe("the machine does not let it run: exit code 1", () => {
  test("the device is in use", async () => {
    const first = startEnd(pair, "left", left, DEFAULTS, await scratch());
    try {
      await deviceReady(pair.left, "left", first);
      expectSentence(await failing("-p", "4445"), 1, new RegExp(DEVICE), /another program uses it/);
      expect(first.alive).toBe(true);
    } finally {
      await first.stop();
    }
  });

  test("the port is in use, and no device stays behind", async () => {
    const first = startEnd(pair, "left", left, DEFAULTS, await scratch());
    try {
      await deviceReady(pair.left, "left", first);
      expectSentence(await failing("-d", "vt1"), 1, /4444/, /another program uses it/);
      expect(await pair.left.hasDevice("vt1")).toBe(false);
    } finally {
      await first.stop();
    }
  });

  test("the address is not of this host", async () => {
    expectSentence(await failing("-i", "198.51.100.7"), 1, /198\.51\.100\.7/);
  });

  test("the capability CAP_NET_ADMIN is missing", async () => {
    const argv = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"];
    const output = await pair.left.run([...argv, ...commandOf("left", left, DEFAULTS, await scratch())]);
    expectSentence(output, 1, /CAP_NET_ADMIN/);
  });

  test("the state directory cannot be written", async () => {
    const file = `${await scratch()}/file`;
    await writeFile(file, "");
    const output = await failing("--state-dir", `${file}/state`);
    expectSentence(output, 1, new RegExp(`${file}/state`), /--state-dir/);
  });

  test("the post-up program is not there", async () => {
    expectSentence(await failing("-x", "/nonexistent/post-up"), 1, /\/nonexistent\/post-up/);
    expect(await pair.left.hasDevice(DEVICE)).toBe(false);
  });
});

describe("the end", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`${signal}: exit code 0, device and control socket are gone`, async () => {
      const dir = await scratch();
      const daemon = startEnd(pair, "left", left, DEFAULTS, dir);
      await deviceReady(pair.left, "left", daemon);
      await readStatus(socketOf(dir, "left"));
      await daemon.stop(signal);
      expect({ code: daemon.exitCode, signal: daemon.exitSignal }).toEqual({ code: 0, signal: null });
      expect(await pair.left.hasDevice(DEVICE)).toBe(false);
      await expect(access(socketOf(dir, "left"))).rejects.toThrow("ENOENT");
    });
  }

  test("SIGKILL: the device is gone, and the next start is not hindered by the old socket file", async () => {
    const dir = await scratch();
    const first = startEnd(pair, "left", left, DEFAULTS, dir);
    await deviceReady(pair.left, "left", first);
    await readStatus(socketOf(dir, "left"));
    await first.stop("SIGKILL");
    await expect.poll(() => pair.left.hasDevice(DEVICE)).toBe(false);
    const second = startEnd(pair, "left", left, DEFAULTS, dir);
    await deviceReady(pair.left, "left", second);
    await readStatus(socketOf(dir, "left"));
    await second.stop();
    expect(second.exitCode).toBe(0);
  });
});
