/**
 * One of us in the middle, configured by a file, with two foreign clients: anytun on mux 1, uanytun on mux 2, each in a
 * namespace and on a network of its own. Clients reach the server and each other; neither may pose as the other.
 */
import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createPair, findProgram, Namespace, OUTER, type Pair, type Program, sleep } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";
import { grown, readStatus } from "../daemon/status.ts";
import { DEVICE, PORT, scratch } from "./tunnel.ts";

const missing = ["anytun", "uanytun"].some((program) => findProgram(program) === undefined);
const THIRD = { server: "198.51.100.1", client: "198.51.100.2" };

const configOf = (dir: string, type: "tun" | "tap"): string => `
[listen]
addresses = ["${OUTER.left.v4}", "${THIRD.server}"]
port = ${PORT}
sender_id = 1

[device]
type = "${type}"
name = "${DEVICE}"
addresses = ["10.9.0.1/24"]

[paths]
state = "${dir}/state"
socket = "${dir}/anyhop.sock"
${[1, 2]
  .map(
    (mux) => `
[[tunnel]]
name = "client-${mux}"
mux = ${mux}
role = "left"
passphrase = "secret of client ${mux}"
${type === "tun" ? `routes = ["10.9.0.${mux + 1}/32"]` : ""}`,
  )
  .join("\n")}
`;

describe.skipIf(missing)("a server with two foreign clients", () => {
  let pair: Pair;
  let third: Namespace;
  beforeAll(async () => {
    pair = await createPair("srv");
    third = await Namespace.create(`srv-${process.pid}-t`);
    await third.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1", "netns", pair.left.name);
    await pair.left.ip("addr", "add", `${THIRD.server}/24`, "dev", "eth1");
    await pair.left.ip("link", "set", "eth1", "up");
    await third.ip("addr", "add", `${THIRD.client}/24`, "dev", "eth0");
    await third.ip("link", "set", "eth0", "up");
  });
  afterAll(() => Promise.all([pair?.close(), third?.close()]));

  const client = (where: Namespace, program: string, mux: number, server: string, type: string): Program =>
    where.start([
      ...[program, "-D", "-L", "stderr:3", "-r", server, "-o", String(PORT), "-p", String(PORT)],
      ...["-d", DEVICE, "-t", type, "-n", `10.9.0.${mux + 1}/24`],
      ...["-m", String(mux), "-s", String(mux + 1), "-e", "right", "-E", `secret of client ${mux}`],
    ]);

  const reaches = async (from: Namespace, target: string, ...options: string[]): Promise<boolean> => {
    for (let i = 0; i < 200; i++) {
      const argv = ["ping", "-q", "-c", "1", "-W", "0.3", ...options, target];
      if ((await from.run(argv)).code === 0) return true;
      await sleep(50);
    }
    return false;
  };

  for (const type of ["tun", "tap"] as const) {
    test(`${type}: clients reach the server and each other`, async () => {
      const dir = await scratch();
      await writeFile(`${dir}/server.toml`, configOf(dir, type), { mode: 0o600 });
      const programs = [
        pair.left.start([ANYHOP, "run", `${dir}/server.toml`]),
        client(pair.right, "anytun", 1, OUTER.left.v4, type),
        client(third, "uanytun", 2, THIRD.server, type),
      ];
      try {
        const what = () => programs.map((program) => program.output).join("\n");
        expect(await reaches(pair.right, "10.9.0.1"), what()).toBe(true);
        expect(await reaches(third, "10.9.0.1"), what()).toBe(true);
        expect(await reaches(pair.right, "10.9.0.3"), what()).toBe(true);
        expect(await reaches(third, "10.9.0.2"), what()).toBe(true);
        if (type === "tun") {
          // The first client borrows the second one's address.
          await pair.right.ip("addr", "add", "10.9.0.3/32", "dev", DEVICE);
          const before = await readStatus(`${dir}/anyhop.sock`);
          await pair.right.run(["ping", "-q", "-c", "3", "-i", "0.05", "-W", "0.2", "-I", "10.9.0.3", "10.9.0.1"]);
          expect(grown(before, await readStatus(`${dir}/anyhop.sock`))["inner_source"]).toBe(3);
          expect(await reaches(third, "10.9.0.1")).toBe(true);
        }
      } finally {
        await Promise.all(programs.map((program, i) => program.stop(i === 0 ? "SIGTERM" : "SIGKILL")));
      }
    });
  }
});
