/** Files that anyhop writes are files that anyhop reads: init, invite, import. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isName } from "../../src/base/names.ts";
import type { ServiceView } from "../../src/control/asked/control_port.ts";
import { parseClassic } from "../../src/control/classic/classic.ts";
import { parseFile } from "../../src/control/config/config_file.ts";
import { importAnytun } from "../../src/control/made/import_anytun.ts";
import { clientFile, nodeFile, uniqueLocalPrefix } from "../../src/control/made/init_files.ts";
import { invitationFile } from "../../src/control/made/invite.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { quote } from "../../src/control/text/toml_text.ts";
import { ANNA_PRIVATE, envWith, GROUP_PUBLIC, PSK } from "./session_files.ts";

const env = envWith(0o600);

describe("init", () => {
  const wishes = {
    group: "example",
    keyFile: "node.key",
    address: ["vpn.example.net:4445"],
    port: 4445,
    pool: ["10.9.0.0/24", "2001:db8:9::/64"],
  };
  test("a node's file", () => {
    const parsed = parseFile(nodeFile(wishes), "/etc/anyhop/node.toml", env);
    expect([parsed.kind, parsed.faults]).toEqual(["node", []]);
    expect(parsed.spec).toMatchObject({
      group: "example",
      addresses: ["vpn.example.net:4445"],
      pool: wishes.pool,
      instance: { senderId: 1, listen: [{ port: 4445 }, { port: 4445 }] },
    });
  });

  test("without an address, and with every commented key in force, it is still good", () => {
    expect(parseFile(nodeFile({ ...wishes, address: [] }), "/etc/anyhop/node.toml", env).faults).toEqual([]);
    const commented = nodeFile({ ...wishes, address: [] })
      .replace(/^# (\[\[?[a-z.]+\]\]?)$/gm, "$1")
      .replace(/^# ([a-z_]+ = .*)$/gm, "$1")
      .replace('public_key = "..."', `public_key = "${GROUP_PUBLIC.replace(/^../, "AB")}"`)
      .replace("engine/engine.nk", "engine.nk")
      .replace("old.phrase", "phrase");
    const parsed = parseFile(commented, "/etc/anyhop/node.toml", env);
    expect(parsed.faults).toEqual([]);
    expect(parsed.spec).toMatchObject({ addresses: ["vpn.example.net:4444"], clients: [{ name: "anna" }] });
  });

  test("a client's file, also with every commented key in force", () => {
    const text = clientFile({
      service: "example",
      keyFile: "anna.key",
      address: ["192.0.2.1:4444"],
      groupKey: GROUP_PUBLIC,
      routes: [],
    });
    expect(parseFile(text, "/etc/anyhop/anna.toml", env)).toMatchObject({ kind: "client", faults: [] });
    const commented = text.replace(/^# ([a-z_]+ = .*)$/gm, "$1").replace("service.psk", "anna.psk");
    const { spec, faults } = parseFile(commented, "/etc/anyhop/anna.toml", env);
    expect(faults).toEqual([]);
    expect(spec).toMatchObject({ services: [{ routes: "everything", addresses: ["10.9.0.2/24"], device: "anyhop0" }] });
  });

  test("unique local prefixes are fd00::/8 with 40 bits of chance", () => {
    expect(uniqueLocalPrefix(Uint8Array.of(0xab, 0xcd, 0xef, 0x12, 0x34))).toBe("fdab:cdef:1234::/64");
    expect(uniqueLocalPrefix(Uint8Array.of(0, 0, 0, 0, 0))).toBe("fd00::/64");
    expect(uniqueLocalPrefix(new Uint8Array(5).fill(255))).toBe("fdff:ffff:ffff::/64");
  });
});

describe("invite", () => {
  const service: ServiceView = {
    group: "example",
    publicKey: GROUP_PUBLIC,
    operator: null,
    address: ["192.0.2.1:4444", "[2001:db8::1]:4444"],
    routes: ["10.9.0.0/24", "203.0.113.0/24"],
    dns: [],
    mtu: 1400,
    keepaliveS: 25,
    inner: ["10.9.0.1"],
  };
  test.each([
    [false, PSK],
    [true, PSK],
    [false, undefined],
  ])("compact %s, pre-shared key %s", (compact, psk) => {
    const text = invitationFile({ name: "anna", privateKey: ANNA_PRIVATE, psk, service }, compact);
    const { spec, faults, kind } = parseFile(text, "/home/anna/any name.toml", env);
    expect([kind, faults]).toEqual(["client", []]);
    if (kind !== "client") return;
    expect(spec).toMatchObject({ name: "anna", services: [{ name: "example", routes: service.routes }] });
    expect(formatKey(spec!.privateKey)).toBe(ANNA_PRIVATE);
    expect(spec!.services[0].psk && formatKey(spec!.services[0].psk)).toBe(psk);
    expect(text.includes("#")).toBe(!compact);
  });

  test("fits a QR code and comes out of it as it went in", async () => {
    const [{ default: encodeQr }, { default: decodeQr }] = await Promise.all([import("qr"), import("qr/decode.js")]);
    const text = invitationFile({ name: "anna", privateKey: ANNA_PRIVATE, psk: PSK, service }, true);
    const modules = encodeQr(text, "raw", { ecc: "low", border: 4, scale: 4 });
    const [height, width] = [modules.length, modules[0].length];
    const pixels = Uint8Array.from(modules.flat().flatMap((dark) => (dark ? [0, 0, 0, 255] : [255, 255, 255, 255])));
    expect(decodeQr({ height, width, data: pixels })).toBe(text);
    // Two rows of modules are one line of a terminal.
    expect(encodeQr(text, "ascii", { ecc: "low" }).split("\n").length).toBeLessThan(45);
  });

  test("nobody knows where the group is", () => {
    const lost = { name: "anna", privateKey: ANNA_PRIVATE, psk: undefined, service: { ...service, address: [] } };
    expect(() => invitationFile(lost, false)).toThrow(expect.objectContaining({ code: "no_address" }));
  });
});

describe("import", () => {
  const folder = (files: Record<string, string>) => ({
    ...env,
    readText: (path: string) => files[path],
    listFiles: (path: string) =>
      Object.keys(files)
        .filter((file) => file.startsWith(`${path}/`))
        .map((file) => file.slice(path.length + 1)),
  });
  const D = "/etc/anytun/office";

  test("a folder with clients becomes a file with the same meaning", () => {
    const files = {
      [`${D}/config`]:
        "interface 192.0.2.1\nport 4445\ndev tun7\nifconfig 10.9.0.1/24\nsender-id 3\ncipher aes-ctr-256\n",
      [`${D}/post-up.sh`]: "#!/bin/sh\n",
      [`${D}/conf.d/anna`]: "mux 1\npassphrase correct horse\nroute 10.9.0.2/32\nwindow-size 0\n",
      [`${D}/conf.d/bela b`]:
        `mux 2\nkey ${"ab".repeat(16)}\nsalt ${"cd".repeat(14)}\nroute 10.9.0.3/32\nremote-host 2001:db8::3\n`.replace(
          "remote-host 2001:db8::3",
          "remote-host 198.51.100.3",
        ),
    };
    const made = importAnytun(D, folder(files));
    if (!("files" in made)) throw new Error(made.join());
    expect([...made.files.keys()]).toEqual(["office.toml", "office-anna.key", "office-bela_b.key"]);
    const [text] = made.files.values();
    expect(text).not.toContain("correct horse");
    const parsed = parseFile(text, "/etc/anyhop/office.toml", {
      readSecret: (path) => made.files.get(path.replace("/etc/anyhop/", "")) ?? "",
      modeOf: () => 0o600,
      getenv: () => undefined,
    });
    const before = parseClassic(["--config", D], folder(files));
    if (before.kind !== "run" || parsed.kind !== "classic") throw new Error("not a classic instance");
    expect(parsed.faults.filter(({ severity }) => severity === "error")).toEqual([]);
    const tunnels = before.spec.tunnels.map((t) => ({ ...t, name: t.name.replace(" ", "_") }));
    expect(parsed.spec).toEqual({ ...before.spec, tunnels });
  });

  test("one connection without cipher and keys", () => {
    const files = {
      [`${D}/config`]: "dev tap0\nauth-algo null\ncipher null\nkd-prf null\nremote-host gate.example.net\n",
    };
    const made = importAnytun(D, folder(files));
    if (!("files" in made)) throw new Error(made.join());
    const [text] = made.files.values();
    const parsed = parseFile(text, "/etc/anyhop/office.toml", env);
    const before = parseClassic(["--config", D], folder(files));
    expect(parsed.spec).toEqual(before.kind === "run" ? before.spec : undefined);
    expect([...made.files.keys()]).toEqual(["office.toml"]);
  });

  test("what cannot be read is a list of sentences", () => {
    expect(importAnytun(D, folder({}))).toEqual([expect.stringContaining(`${D}/config does not exist`)]);
    expect(importAnytun(D, folder({ [`${D}/config`]: "port 0\npassphrase x\n" }))).toEqual([
      expect.stringContaining("-p takes a port number"),
    ]);
  });
});

test("any text survives quoting", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (value) => {
      const parsed = parseFile(`name = ${quote(value)}\n[client]\n`, "/x.toml", env);
      const refused = parsed.faults.some(({ key }) => key === "name");
      expect(parsed.faults.some(({ message }) => message.includes("not TOML"))).toBe(false);
      expect(refused).toBe(!isName(value));
    }),
  );
});
