// Memory of a node with very many idle sessions: `node scripts/idle_sessions.mjs [SESSIONS]`, as root, after `npm run build`.
// A real daemon in a network namespace of its own; the crowd's clients make a real handshake each
// and send one empty packet to confirm it. Prints the daemon's resident memory before clients, with clients, and with their
// sessions, the handshakes a second, and the load of the machine.
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { loadavg, tmpdir } from "node:os";
import { fileURLToPath } from "node:url";

const NODE = "192.0.2.1";
const PORT = 4444;
/** Source addresses: the node lets ten requests a second in from each. */
const SOURCES = ["198.51.100", "203.0.113"].flatMap((net) => Array.from({ length: 250 }, (_, k) => `${net}.${k + 1}`));
/** Their requests are made before the first is sent. */
const ROUND = 10_000;
const SEED = "idle";
/** More than a node needs to see that its load is over, to give back what it does not need, and to be idle. */
const IDLE_MS = 20_000;

const dist = (path) => import(new URL(`../dist/${path}`, import.meta.url).href);
const { crowdPair } = await dist("crowd/order.js");
const { CROWD, CrowdProgram } = await dist("crowd/program.js");
const { keyPairFromPrivate } = await dist("crypto/x25519.js");
const base64 = (bytes) => Buffer.from(bytes).toString("base64");
const say = (line) => process.stdout.write(`${line}\n`);

await measure(Number(process.argv[2] ?? 100_000));

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
    const privateKey = new Uint8Array(createHash("sha256").update("group").digest());
    const groupKey = base64(keyPairFromPrivate(privateKey).publicKey);
    writeFileSync(`${dir}/group.key`, base64(privateKey), { mode: 0o600 });
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
    const order = { groupKey, service: { address: NODE, port: PORT }, echo: NODE, sources: SOURCES };
    writeFileSync(
      `${dir}/order.json`,
      JSON.stringify({ ...order, clients: count, firstAddress: "10.0.0.2", seed: SEED }),
    );
    const crowd = new CrowdProgram(
      spawn("nsenter", [`--net=/run/netns/${name}`, ...CROWD, `${dir}/order.json`], {
        stdio: ["pipe", "pipe", "inherit"],
      }),
    );
    await crowd.ready();
    const total = { sessions: 0, failed: 0, seconds: 0 };
    for (let first = 0; first < count; first += ROUND) {
      const round = await crowd.handshakes(first, Math.min(ROUND, count - first));
      for (const key of Object.keys(total)) total[key] += round[key];
    }
    await crowd.end();
    const { sessions: done, failed, seconds } = total;
    say(`${done} handshakes in ${seconds.toFixed(1)} s, ${Math.round(done / seconds)} a second; ${failed} failed`);
    report("right after", daemon.pid);
    await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
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
    publicKey: base64(crowdPair(SEED, k).publicKey),
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
  const parts = `anonymous ${mb("RssAnon")}, files ${mb("RssFile")}, shared ${mb("RssShmem")}`;
  say(`${what}: RSS ${mb("VmRSS")} MB (${parts}); load of the machine ${loadavg()[0].toFixed(1)}`);
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
