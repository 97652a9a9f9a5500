/**
 * The peers that need more than a command line: certificates, keys, configuration files or commands after the start.
 * Each function starts both ends of one tunnel; nothing here measures.
 */
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { must, OUTER, type Pair, type Program, run, sleep } from "./netns.ts";
import { DEVICE, INNER, other, SIDES, type Side, type Start, startBoth } from "./tunnel_ends.ts";

export const startOpenvpn: Start = async (pair, dir, started) => {
  const fingerprint = {} as Record<Side, string>;
  for (const side of SIDES) {
    const [key, cert] = [`${dir}/${side}.key`, `${dir}/${side}.crt`];
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    const made = await run(
      ["openssl", "req", "-x509", ...curve, "-keyout", key, "-out", cert, "-days", "3", "-subj", `/CN=${side}`],
      60_000,
    );
    if (made.code !== 0) throw new Error(`openssl cannot make a certificate for openvpn: ${made.stderr.trim()}`);
    const print = await must(["openssl", "x509", "-in", cert, "-noout", "-sha256", "-fingerprint"]);
    fingerprint[side] = print.trim().split("=")[1] ?? "";
  }
  startBoth(pair, started, (side) => [
    ...["openvpn", "--dev", DEVICE, "--dev-type", "tun", "--data-ciphers", "AES-128-GCM", "--disable-dco"],
    // Bigger buffers than its defaults: without them it loses the flood before it has read it.
    ...["--sndbuf", "4194304", "--rcvbuf", "4194304", "--txqueuelen", "1000"],
    ...["--ifconfig", INNER[side], INNER[other(side)], "--cert", `${dir}/${side}.crt`, "--key", `${dir}/${side}.key`],
    ...["--peer-fingerprint", fingerprint[other(side)]],
    ...(side === "left"
      ? ["--local", OUTER.left.v4, "--tls-server", "--dh", "none"]
      : ["--remote", OUTER.left.v4, "--tls-client"]),
  ]);
};

export const startFastd: Start = async (pair, dir, started) => {
  const keys = {} as Record<Side, { secret: string; public: string }>;
  for (const side of SIDES) {
    const text = await must(["fastd", "--generate-key"]);
    const find = (name: string) => new RegExp(`${name}: (\\w+)`).exec(text)?.[1] ?? "";
    keys[side] = { secret: find("Secret"), public: find("Public") };
  }
  for (const side of SIDES) {
    const remote = `key "${keys[other(side)].public}"; remote ${OUTER[other(side)].v4}:10000;`;
    const lines = [
      `log level warn; mode tun; interface "${DEVICE}"; method "aes128-ctr+umac"; mtu 1400;`,
      `bind ${OUTER[side].v4}:10000; secret "${keys[side].secret}"; peer "other" { ${remote} }`,
      `on up "ip addr add ${INNER[side]}/24 dev ${DEVICE}; ip link set ${DEVICE} up";`,
    ];
    await writeFile(`${dir}/${side}.conf`, `${lines.join("\n")}\n`, { mode: 0o600 });
  }
  startBoth(pair, started, (side) => ["fastd", "-c", `${dir}/${side}.conf`]);
};

const WIREGUARD_PORT = "51820";
const WIREGUARD_TRIES = 50;

/** Its control sockets lie in one directory for all namespaces, so its devices have names that no other run has. */
const wireguardDevice = (side: Side): string => `ah${process.pid}${side[0]}`;

export const startWireguard: Start = async (pair, dir, started) => {
  const publicKey = {} as Record<Side, string>;
  for (const side of SIDES) {
    const key = (await must(["wg", "genkey"])).trim();
    await writeFile(`${dir}/${side}.key`, `${key}\n`, { mode: 0o600 });
    publicKey[side] = (await must(["sh", "-c", `wg pubkey < '${dir}/${side}.key'`])).trim();
  }
  startBoth(pair, started, (side) => ["wireguard-go", "--foreground", wireguardDevice(side)]);
  for (const side of SIDES) {
    const device = wireguardDevice(side);
    await waitForWireguard(pair, side, device, started);
    const set = ["wg", "set", device, "listen-port", WIREGUARD_PORT, "private-key", `${dir}/${side}.key`];
    const peer = ["peer", publicKey[other(side)], "allowed-ips", `${INNER[other(side)]}/32`];
    const endpoint = ["endpoint", `${OUTER[other(side)].v4}:${WIREGUARD_PORT}`];
    const done = await pair[side].run([...set, ...peer, ...endpoint]);
    if (done.code !== 0) throw new Error(`wg cannot configure wireguard-go: ${done.stderr.trim()}`);
    await pair[side].ip("addr", "add", `${INNER[side]}/24`, "dev", device);
    await pair[side].ip("link", "set", device, "up");
  }
};

async function waitForWireguard(pair: Pair, side: Side, device: string, started: readonly Program[]): Promise<void> {
  for (let i = 0; i < WIREGUARD_TRIES; i++) {
    if ((await pair[side].run(["wg", "show", device])).code === 0) return;
    await sleep(100);
  }
  throw new Error(`wireguard-go does not answer: ${started.map((program) => program.output.trim()).join(" | ")}`);
}

/** tinc 1.0: the cipher and digest that are nearest to the classic tunnel's. */
export const startTinc: Start = async (pair, dir, started) => {
  for (const side of SIDES) {
    const home = `${dir}/${side}`;
    await mkdir(`${home}/hosts`, { recursive: true });
    const lines = [`Name = ${side}`, "AddressFamily = ipv4", `Interface = ${DEVICE}`, "DeviceType = tun"];
    if (side === "right") lines.push("ConnectTo = left");
    await writeFile(`${home}/tinc.conf`, `${lines.join("\n")}\n`);
    const host = [`Address = ${OUTER[side].v4}`, `Subnet = ${INNER[side]}/32`, "Cipher = aes-128-cbc", "Digest = sha1"];
    await writeFile(`${home}/hosts/${side}`, `${host.join("\n")}\n`);
    const up = `#!/bin/sh\nip addr add ${INNER[side]}/24 dev ${DEVICE}\nip link set ${DEVICE} mtu 1400 up\n`;
    await writeFile(`${home}/tinc-up`, up);
    await chmod(`${home}/tinc-up`, 0o755);
    // It appends the public key to the host file, and asks no questions when there is no terminal.
    const made = await run(["tincd", "-c", home, "-K2048"], 60_000);
    if (made.code !== 0) throw new Error(`tincd cannot make a key: ${made.stderr.trim()}`);
  }
  for (const side of SIDES) await must(["cp", `${dir}/${side}/hosts/${side}`, `${dir}/${other(side)}/hosts/${side}`]);
  startBoth(pair, started, (side) => ["tincd", "-c", `${dir}/${side}`, "-D", `--pidfile=${dir}/${side}.pid`]);
};
