/** Clients, sessions, routes and reload of a node, over the real book and both in-memory drivers. */
import { beforeEach, describe, expect, test } from "vitest";
import { createLogger, type LogRecord } from "../../src/base/log.ts";
import type { NewClient } from "../../src/control/asked/control_port.ts";
import { EventHub } from "../../src/control/asked/event_hub.ts";
import { LogLevel } from "../../src/control/asked/log_level.ts";
import { parseFile } from "../../src/control/config/config_file.ts";
import { NodeControl } from "../../src/control/operate/node_control.ts";
import type { NodeSpec } from "../../src/control/spec/instance.ts";
import type { Store } from "../../src/control/spec/ports.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { privateKeyFrom, publicKeyOf } from "../../src/control/text/keys/x25519.ts";
import { createMemorySessions, type MemorySessions } from "../../src/drivers/memory_sessions.ts";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";
import { announcingOf } from "../announce/parts.ts";
import { ANNA_PUBLIC, BELA_PUBLIC, envWith, GROUP_PUBLIC, NODE, PSK, SECRETS } from "./session_files.ts";

const ANNA = `[[client]]\nname = "anna"\npublic_key = "${ANNA_PUBLIC}"\npsk_file = "anna.psk"\n`;
const publicKey = (seed: number) => formatKey(publicKeyOf(privateKeyFrom(new Uint8Array(32).fill(seed))));
const wish = (name: string, change: Partial<NewClient> = {}): NewClient => ({
  name,
  publicKey: BELA_PUBLIC,
  addresses: [],
  prefixes: [],
  modes: ["tunnel"],
  ...change,
});

let store: Store;
let sessions: MemorySessions;
let text: string;
let records: LogRecord[];
let control: NodeControl;
const clock = { monotonicMs: () => 0, wallMs: () => 1_750_000_000_000 };
const readFile = () => parseFile(text, "/etc/anyhop/node.toml", envWith(0o600));
function start(next: string): void {
  text = next;
  sessions = createMemorySessions(clock);
  const level = new LogLevel();
  const sink = { level: 5, write: (record: LogRecord) => void records.push(record), close: () => {} };
  control = new NodeControl(readFile().spec as NodeSpec, {
    clock,
    log: createLogger(clock, level.attach([sink])),
    level,
    store,
    sessions,
    announcing: announcingOf(clock),
    events: new EventHub(clock),
    readFile: async () => readFile(),
    deviceName: () => "anyhop0",
  });
}
beforeEach(() => {
  store = createMemoryStore();
  records = [];
  start(NODE + ANNA);
});
const code = (action: () => unknown): string => {
  try {
    action();
    return "";
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe("clients", () => {
  test("those of the file may come, with addresses from the pool that stay theirs", () => {
    expect(control.clients()).toMatchObject([
      { name: "anna", addresses: ["10.9.0.2"], psk: true, origin: "file", session: null },
    ]);
    expect(sessions.admitted()).toEqual(["anna"]);
    expect(formatKey(sessions.pskOf(ANNA_PUBLIC)!)).toBe(PSK);
    start(`${NODE}[[client]]\nname = "aaa"\npublic_key = "${BELA_PUBLIC}"\n${ANNA}`);
    expect(control.clients().map(({ name, addresses }) => [name, addresses])).toEqual([
      ["aaa", ["10.9.0.3"]],
      ["anna", ["10.9.0.2"]],
    ]);
  });

  test("added ones are kept over a restart, with their secret, and are not asked for it", () => {
    const bela = control.addClient(wish("bela", { psk: PSK, prefixes: ["198.51.100.0/24"] }));
    expect(bela).toMatchObject({ addresses: ["10.9.0.3"], psk: true, origin: "api" });
    expect(JSON.stringify([bela, control.clients()])).not.toContain(PSK);
    start(NODE + ANNA);
    expect(control.clients().map(({ name }) => name)).toEqual(["anna", "bela"]);
    expect(formatKey(sessions.pskOf(BELA_PUBLIC)!)).toBe(PSK);
  });

  test("removed ones are cut off at once, and their address is free", () => {
    control.addClient(wish("bela"));
    const id = sessions.connect(BELA_PUBLIC, "192.0.2.7:1", 1);
    expect(control.clients()[1].session).toBe(id);
    control.removeClient("bela");
    expect([sessions.list(), sessions.connect(BELA_PUBLIC, "192.0.2.7:1", 1)]).toEqual([[], -1]);
    expect(control.addClient(wish("carl", { publicKey: publicKey(9) })).addresses).toEqual(["10.9.0.3"]);
    start(NODE + ANNA);
    expect(control.clients().map(({ name }) => name)).toEqual(["anna", "carl"]);
  });

  test.each<[string, Partial<NewClient>, string]>([
    ["a name", { name: "a b" }, "bad_client"],
    ["a name that is taken", { name: "anna" }, "client_exists"],
    ["a key", { publicKey: "x" }, "bad_client"],
    ["a key of small order", { publicKey: `${"A".repeat(43)}=` }, "bad_client"],
    ["a key that is taken", { publicKey: ANNA_PUBLIC }, "key_taken"],
    ["the group's key", { publicKey: GROUP_PUBLIC }, "key_taken"],
    ["a pre-shared key", { psk: "x" }, "bad_client"],
    ["an address", { addresses: ["10.9.0"] }, "bad_client"],
    ["an address of each host", { addresses: ["127.0.0.1"] }, "bad_client"],
    ["an address of nobody", { addresses: ["::"] }, "bad_client"],
    ["a multicast address", { addresses: ["ff02::1"] }, "bad_client"],
    ["the broadcast address", { addresses: ["255.255.255.255"] }, "bad_client"],
    ["an address that is taken", { addresses: ["10.9.0.2"] }, "address_taken"],
    ["the node's address", { addresses: ["10.9.0.1"] }, "address_taken"],
    ["a network", { prefixes: ["198.51.100.1/24"] }, "bad_client"],
    ["a network without length", { prefixes: ["198.51.100.0"] }, "bad_client"],
  ])("wrong: %s; nothing is changed", (_what, change, refusal) => {
    const before = JSON.stringify([control.clients(), store.clients()]);
    expect(code(() => control.addClient(wish("bela", change)))).toBe(refusal);
    expect(JSON.stringify([control.clients(), store.clients()])).toBe(before);
    expect(control.addClient(wish("bela")).addresses).toEqual(["10.9.0.3"]);
  });

  test("a pool that is used up, and one that is not there", () => {
    start(NODE.replace("/24", "/30"));
    control.addClient(wish("a"));
    expect(code(() => control.addClient(wish("b", { publicKey: publicKey(9) })))).toBe("pool_exhausted");
    store = createMemoryStore();
    start(NODE.replace('pool = ["10.9.0.0/24"]\n', ""));
    expect(code(() => control.addClient(wish("a")))).toBe("no_pool");
    expect(control.addClient(wish("a", { addresses: ["10.9.0.9/32"] })).addresses).toEqual(["10.9.0.9"]);
  });

  test("an address that is named twice is one", () => {
    const twice = { addresses: ["10.9.0.9", "10.9.0.9"], prefixes: ["10.9.0.9/32", "198.51.100.0/24"] };
    expect(control.addClient(wish("bela", twice))).toMatchObject({ addresses: ["10.9.0.9"] });
    expect(
      control
        .routes()
        .filter(({ via }) => via === "bela")
        .map(({ prefix }) => prefix),
    ).toEqual(["10.9.0.9/32", "198.51.100.0/24"]);
  });

  test("those of the file go with the file only", () => {
    expect(code(() => control.removeClient("anna"))).toBe("client_in_file");
    expect(code(() => control.removeClient("nobody"))).toBe("unknown_client");
  });

  test("file and store that contradict each other do not start", () => {
    control.addClient(wish("bela", { publicKey: publicKey(9), addresses: ["10.9.0.77"] }));
    const twin = `[[client]]\nname = "twin"\npublic_key = "${publicKey(9)}"\n`;
    expect(code(() => start(NODE + twin))).toBe("key_taken");
    const squatter = `[[client]]\nname = "s"\npublic_key = "${BELA_PUBLIC}"\naddresses = ["10.9.0.77"]\n`;
    expect(code(() => start(NODE + squatter))).toBe("address_taken");
  });
});

describe("sessions", () => {
  test("list, end, ping", async () => {
    const id = sessions.connect(ANNA_PUBLIC, "192.0.2.7:4444", 12);
    expect(control.sessions()).toMatchObject([{ id, client: "anna", endpoint: "192.0.2.7:4444" }]);
    expect(await control.ping("anna", 100)).toEqual({ rttMs: 12, node: null });
    await expect(control.ping("anna", 10)).rejects.toMatchObject({ code: "ping_timeout" });
    await expect(control.ping("nobody", 10)).rejects.toMatchObject({ code: "unknown_client" });
    control.endSession(id);
    expect(control.sessions()).toEqual([]);
    expect(code(() => control.endSession(id))).toBe("unknown_session");
    await expect(control.ping("anna", 10)).rejects.toMatchObject({ code: "no_session" });
    expect(sessions.connect(ANNA_PUBLIC, "192.0.2.7:4444", 12)).toBeGreaterThan(id);
  });

  test("routes: longest first, clients, tunnels and the device", () => {
    start(
      `${NODE}${ANNA}prefixes = ["198.51.100.0/24"]\n[[tunnel]]\nname = "old"\npassphrase_file = "phrase"\nroutes = ["10.20.0.0/16"]\n`,
    );
    expect(control.routes().map(({ prefix, kind, via }) => `${prefix} ${kind} ${via}`)).toEqual([
      "10.9.0.1/32 device anyhop0",
      "10.9.0.2/32 client anna",
      "198.51.100.0/24 client anna",
      "10.20.0.0/16 tunnel old",
    ]);
  });
});

describe("reload", () => {
  const BELA = `[[client]]\nname = "bela"\npublic_key = "${BELA_PUBLIC}"\n`;
  test("sessions whose settings did not change go on; the others end or follow", async () => {
    start(NODE + ANNA + BELA);
    const [anna, bela] = [
      sessions.connect(ANNA_PUBLIC, "192.0.2.7:1", 1),
      sessions.connect(BELA_PUBLIC, "192.0.2.8:1", 1),
    ];
    const carl = publicKey(9);
    text = `${NODE}networks = ["203.0.113.0/24"]\n${ANNA}prefixes = ["198.51.100.0/24"]\n[[client]]\nname = "carl"\npublic_key = "${carl}"\n`;
    const { changes } = await control.reload();
    expect(changes.map(({ subject, effect }) => `${subject} ${effect}`)).toEqual([
      " live",
      "bela ends_session",
      "anna live",
      "carl live",
    ]);
    expect(sessions.list().map(({ id }) => id)).toEqual([anna]);
    expect(bela).not.toBe(anna);
    expect(sessions.admitted()).toEqual(["anna", "carl"]);
    expect(control.routes()).toContainEqual({ prefix: "198.51.100.0/24", kind: "client", via: "anna" });
    expect(control.service().routes).toEqual(["10.9.0.0/24", "203.0.113.0/24"]);
    expect(await control.reload()).toEqual({ changes: [], warnings: [] });
  });

  test("a new pre-shared key ends the session; so does another key under the same name", async () => {
    sessions.connect(ANNA_PUBLIC, "192.0.2.7:1", 1);
    text = NODE + ANNA.replace('psk_file = "anna.psk"\n', "");
    await control.reload();
    expect([sessions.list(), sessions.pskOf(ANNA_PUBLIC)]).toEqual([[], undefined]);
    sessions.connect(ANNA_PUBLIC, "192.0.2.7:1", 1);
    text = text.replace(ANNA_PUBLIC, BELA_PUBLIC);
    await control.reload();
    expect([sessions.list(), sessions.connect(ANNA_PUBLIC, "192.0.2.7:1", 1)]).toEqual([[], -1]);
  });

  test("clients that were added by hand are not touched", async () => {
    control.addClient(wish("bela"));
    const id = sessions.connect(BELA_PUBLIC, "192.0.2.8:1", 1);
    text = NODE;
    await control.reload();
    expect(control.clients().map(({ name }) => name)).toEqual(["bela"]);
    expect(sessions.list().map((session) => session.id)).toEqual([id]);
  });

  test("a faulty file changes nothing and is explained", async () => {
    sessions.connect(ANNA_PUBLIC, "192.0.2.7:1", 1);
    text = `${NODE}bad = 1\n`;
    await expect(control.reload()).rejects.toMatchObject({
      code: "config_faults",
      message: expect.stringContaining("/etc/anyhop/node.toml:5:1: error: there is no key bad"),
    });
    text = '[[tunnel]]\nname = "a"\npassphrase_file = "phrase"\n';
    await expect(control.reload()).rejects.toMatchObject({ code: "config_faults" });
    expect([control.clients().length, sessions.list().length]).toEqual([1, 1]);
  });

  test("a file that contradicts the store changes nothing", async () => {
    control.addClient(wish("bela"));
    text = `${NODE}[[client]]\nname = "other"\npublic_key = "${BELA_PUBLIC}"\n`;
    await expect(control.reload()).rejects.toMatchObject({ code: "key_taken" });
    expect(control.clients().map(({ name }) => name)).toEqual(["anna", "bela"]);
  });

  test("what needs a restart is said again until it is done", async () => {
    text = `${NODE}${ANNA}[device]\nmtu = 1300\n`;
    for (const _ of [1, 2])
      expect((await control.reload()).changes).toMatchObject([{ what: "device", effect: "needs_restart" }]);
    expect(control.service().mtu).toBe(1400);
  });
});

test("events and log say what happens, and no secret", async () => {
  const seen: string[] = [];
  const stop = control.follow(({ event, subject }) => seen.push(`${event} ${subject ?? ""}`));
  control.addClient(wish("bela", { psk: PSK }));
  control.removeClient("bela");
  control.setLogLevel("error");
  stop();
  control.setLogLevel("debug");
  expect(seen).toEqual(["client_added bela", "client_removed bela", "log_level "]);
  expect(control.logLevel()).toBe("debug");
  // "error" silenced its own notice.
  expect(records.map(({ event }) => event)).toEqual(["client_added", "client_removed", "log_level"]);
  for (const secret of SECRETS) expect(JSON.stringify(records)).not.toContain(secret);
});

test("listeners are bounded", () => {
  const stops = Array.from({ length: 32 }, () => control.follow(() => {}));
  expect(code(() => control.follow(() => {}))).toBe("too_many");
  stops[0]();
  expect(code(() => control.follow(() => {}))).toBe("");
});
