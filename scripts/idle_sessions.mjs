// Memory of a node with very many idle sessions: `node scripts/idle_sessions.mjs [SESSIONS]`, as root, after `npm run build`.
// A real daemon in a network namespace of its own, a real handshake for each client and one empty packet to confirm it.
// Prints the daemon's resident memory before clients, with clients, and with their sessions, and the handshakes a second.
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";

const NODE = "192.0.2.1";
const PORT = 4444;
/** Source addresses: the node lets ten requests a second in from each. */
const SOURCES = [198, 203].flatMap((first) =>
  Array.from({ length: 250 }, (_, k) => (first === 198 ? `198.51.100.${k + 1}` : `203.0.113.${k + 1}`)),
);
/** A client that is sent a cookie waits a second, so many wait at a time. */
const SOCKETS_A_SOURCE = 4;
const ALG_BY_AEAD = { 1: 1, 2: 0, 3: 2 };

const dist = (path) => import(new URL(`../dist/${path}`, import.meta.url).href);
const { keyPairFromPrivate } = await dist("crypto/x25519.js");
const pairOf = (label) => keyPairFromPrivate(new Uint8Array(createHash("sha256").update(label).digest()));
const base64 = (bytes) => Buffer.from(bytes).toString("base64");
const say = (line) => process.stdout.write(`${line}\n`);

if (process.argv[2] === "--clients") await runClients(Number(process.argv[3]));
else await measure(Number(process.argv[2] ?? 100_000));

/** In the namespace: one handshake after another from each source address. */
async function runClients(count) {
  const { Initiator } = await dist("handshake/initiator.js");
  const { systemEntropy } = await dist("crypto/entropy.js");
  const { sealAead } = await dist("crypto/aead.js");
  const groupKey = pairOf("group").publicKey;
  const now = () => ({ ms: performance.now(), wallMs: Date.now() });
  const started = performance.now();
  let next = 0;
  let up = 0;
  const connect = (socket, own) =>
    new Promise((resolve) => {
      const initiator = new Initiator(
        { own, groupKey, groupName: "", psk: new Uint8Array(32), aeads: 0b1110, modes: 1 },
        systemEntropy,
      );
      const carry = (out) => {
        for (const output of out) {
          if (output.kind === "send") socket.send(output.datagram, PORT, NODE);
          if (output.kind !== "confirm") continue;
          const { index, aead, sealKey } = output.session;
          const header = { seq: 0, senderId: index >>> 15, mux: 0x8000 | (index & 0x7fff) };
          const key = { algorithm: ALG_BY_AEAD[aead], sealKey, openKey: sealKey };
          socket.send(sealAead(key, header, -1, new Uint8Array(0)), PORT, NODE);
        }
      };
      const step = (act) => {
        const out = [];
        act(out);
        carry(out);
      };
      const timer = setInterval(() => step((out) => initiator.tick(now(), out)), 100);
      const finish = () => {
        clearInterval(timer);
        socket.removeAllListeners("message");
        resolve();
      };
      socket.on("message", (datagram) => {
        // The node's first packet in the session: it has seen the confirm.
        if (datagram.readUInt16BE(6) !== 0xffff) finish();
        else step((out) => initiator.receive(now(), new Uint8Array(datagram), out));
      });
      step((out) => initiator.start(now(), out));
    });
  await Promise.all(
    Array.from({ length: SOCKETS_A_SOURCE }, () => SOURCES)
      .flat()
      .map(async (address) => {
        const socket = createSocket("udp4");
        await new Promise((resolve) => socket.bind(0, address, resolve));
        while (next < count) {
          await connect(socket, pairOf(`client ${next++}`));
          up++;
        }
        socket.close();
      }),
  );
  say(JSON.stringify({ up, seconds: (performance.now() - started) / 1000 }));
}

async function measure(count) {
  const { openStore } = await dist("drivers/store.js");
  const name = `idle${process.pid}`;
  const dir = mkdtempSync(`${tmpdir()}/anyhop-idle-`);
  const run = (...args) => execFileSync(args[0], args.slice(1), { stdio: ["ignore", "pipe", "inherit"] });
  let daemon;
  const stop = async () => {
    if (daemon === undefined) return;
    const ended = new Promise((resolve) => daemon.once("exit", resolve));
    if (daemon.exitCode === null && daemon.kill("SIGKILL")) await ended;
    daemon = undefined;
  };
  const start = async () => {
    await stop();
    const anyhop = fileURLToPath(new URL("../bin/anyhop", import.meta.url));
    daemon = spawn("nsenter", [`--net=/run/netns/${name}`, process.execPath, anyhop, "run", `${dir}/node.toml`], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    for (let left = 600; (await ask(`${dir}/node.sock`, "/v1/health")) === undefined; left--) {
      if (left === 0 || daemon.exitCode !== null) throw new Error("The daemon did not start.");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await new Promise((resolve) => setTimeout(resolve, 3000));
  };
  try {
    run("ip", "netns", "add", name);
    run("ip", "-n", name, "link", "set", "lo", "up");
    for (const net of [`${NODE}/24`, "198.51.100.0/24", "203.0.113.0/24"])
      run("ip", "-n", name, "addr", "add", net, "dev", "lo");
    writeFileSync(`${dir}/group.key`, base64(createHash("sha256").update("group").digest()), { mode: 0o600 });
    writeFileSync(
      `${dir}/node.toml`,
      `name = "node"\n[node]\ngroup = "idle"\nprivate_key_file = "group.key"\npool = ["10.0.0.0/8", "2001:db8:9::/64"]\n` +
        `[listen]\naddresses = ["${NODE}"]\nport = ${PORT}\nsender_id = 1\n` +
        `[paths]\nstate = "${dir}/state"\nsocket = "${dir}/node.sock"\n`,
    );
    await start();
    report("no client", daemon.pid);
    await stop();
    const store = openStore(`${dir}/state`, "node");
    store.changeClients(
      Array.from({ length: count }, (_, k) => recordOf(k)),
      [],
    );
    await store.close();
    await start();
    report(`${count} clients`, daemon.pid);
    const clients = spawn(
      "nsenter",
      [`--net=/run/netns/${name}`, process.execPath, fileURLToPath(import.meta.url), "--clients", String(count)],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const { up, seconds } = JSON.parse(await textOf(clients.stdout));
    say(`${up} handshakes in ${seconds.toFixed(1)} s, ${Math.round(up / seconds)} a second`);
    report("right after", daemon.pid);
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    report(`${count} sessions`, daemon.pid);
    const began = performance.now();
    let sessions = 0;
    for (let after = -1; after !== null; ) {
      const page = await ask(`${dir}/node.sock`, `/v1/sessions?limit=1000${after < 0 ? "" : `&after=${after}`}`);
      sessions += page.sessions.length;
      after = page.next;
    }
    say(`the API lists ${sessions} sessions in ${Math.round(performance.now() - began)} ms`);
    report("after the list", daemon.pid);
  } finally {
    await stop();
    rmSync(dir, { recursive: true, force: true });
    run("ip", "netns", "del", name);
  }
}

function recordOf(k) {
  const host = k + 2;
  return {
    name: `client${k}`,
    publicKey: base64(pairOf(`client ${k}`).publicKey),
    psk: undefined,
    addresses: [
      `10.${host >>> 16}.${(host >>> 8) & 255}.${host & 255}`,
      `2001:db8:9::${host < 65536 ? "" : `${(host >>> 16).toString(16)}:`}${(host & 65535).toString(16)}`,
    ],
    prefixes: [],
    modes: ["tunnel"],
    origin: "api",
    createdMs: 0,
  };
}

function report(what, pid) {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const mb = (key) => Math.round(Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024);
  say(`${what}: RSS ${mb("VmRSS")} MB (anonymous ${mb("RssAnon")}, files ${mb("RssFile")}, shared ${mb("RssShmem")})`);
}

function ask(socketPath, path) {
  return new Promise((resolve) => {
    const asked = request({ socketPath, path }, async (answer) => {
      const text = await textOf(answer);
      resolve(answer.statusCode === 200 ? JSON.parse(text) : undefined);
    });
    asked.on("error", () => resolve(undefined)).end();
  });
}

async function textOf(stream) {
  let text = "";
  for await (const part of stream) text += part;
  return text;
}
