// Debian packages that the build, the lab, the tests and the benchmarks use: looked for by program, installed when they
// are missing and we may. No service that a package brings is started by its installation.
import { accessSync, chmodSync, constants, existsSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { SetupError, say, step } from "./step.mjs";

/** Package name -> the program that shows its presence, and what it is for. */
const packages = {
  gcc: { program: "gcc", why: "compiles the C addon" },
  "g++": { program: "g++", why: "links the C addon (node-gyp calls it)" },
  make: { program: "make", why: "drives the build of the C addon" },
  python3: { program: "python3", why: "node-gyp is written in it" },
  iproute2: { program: "ip", why: "makes network namespaces, links and routes" },
  "iputils-ping": { program: "ping", why: "checks reachability inside the namespaces" },
  anytun: { program: "anytun", why: "the original, for the interop tests and as a peer in the benchmarks" },
  uanytun: { program: "uanytun", why: "the small original, for the interop tests and as a peer in the benchmarks" },
  "net-tools": { program: "ifconfig", why: "anytun and uanytun call it, though their packages do not say so" },
  bird2: { program: "bird", why: "speaks BGP for the nodes and the router of the tests and the lab" },
  exabgp: { program: "exabgp", why: "speaks BGP by another driver, for the tests" },
  "nats-server": { program: "nats-server", why: "the state engine, for its tests and the lab" },
  tcpdump: { program: "tcpdump", why: "watches the wire of the lab: what is measured has the kernel's times" },
  iperf3: { program: "iperf3", why: "makes and measures the traffic of the benchmarks and of two tests" },
  procps: { program: "sysctl", why: "sets up the network namespaces of a test" },
  openvpn: { program: "openvpn", why: "peer in the benchmarks" },
  openssl: { program: "openssl", why: "makes the certificates of the state engine, and the keys of openvpn" },
  "wireguard-go": { program: "wireguard-go", why: "peer in the benchmarks" },
  "wireguard-tools": { program: "wg", why: "configures that peer" },
  tinc: { program: "tincd", why: "peer in the benchmarks" },
  fastd: { program: "fastd", why: "peer in the benchmarks" },
};

const build = ["gcc", "g++", "make", "python3"];
const network = [...build, "iproute2", "iputils-ping"];
const lab = [...network, "bird2", "nats-server", "openssl", "tcpdump"];
/** What each kind of set-up needs. */
export const needs = {
  build,
  lab,
  test: [...lab, "exabgp", "anytun", "uanytun", "net-tools", "iperf3", "procps"],
  bench: [
    ...network,
    "iperf3",
    "openvpn",
    "openssl",
    "fastd",
    "wireguard-go",
    "wireguard-tools",
    "tinc",
    "anytun",
    "uanytun",
    "net-tools",
  ],
};

/** Directories searched beside PATH: a plain user's PATH on Debian has no sbin. */
const SBIN = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

function present(program) {
  const directories = [...(process.env["PATH"] ?? "").split(delimiter), ...SBIN];
  return directories.some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return directory !== "";
    } catch {
      return false;
    }
  });
}

/** Names of the Debian packages that `what` needs and this machine does not have. */
export function missingPackages(what) {
  return needs[what].filter((name) => !present(packages[name].program));
}

/** Throws SetupError code 2 with what to type when packages cannot be installed by us. */
export function checkMayInstall(names) {
  for (const name of names) say(`needs the Debian package ${name}: ${packages[name].why}`);
  if (!present("apt-get")) {
    const programs = names.map((name) => packages[name].program).join(", ");
    throw new SetupError(
      `setup: this machine has no apt-get; install these programs with its own package tool: ${programs}`,
      2,
    );
  }
  if (process.getuid() !== 0) {
    const install = installArguments(names).join(" ");
    throw new SetupError(`setup: not root; type: sudo apt-get update && sudo apt-get ${install}`, 2);
  }
}

const installArguments = (names) => ["install", "-y", "--no-install-recommends", ...names];

/** Installs the packages. Throws SetupError with apt-get's whole output. */
export async function installPackages(names) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  await withoutServices(() => {
    try {
      step("apt-get update", "apt-get", ["update"], { env });
    } catch (error) {
      // One unreachable source of several also ends here; the installation tells whether it mattered.
      process.stderr.write(`${error.message}\n`);
      say("going on with the package lists that are here");
    }
    step(`apt-get install ${names.join(" ")}`, "apt-get", installArguments(names), { env });
  });
  const still = names.filter((name) => !present(packages[name].program));
  if (still.length > 0) {
    throw new SetupError(`setup: installed, but their programs are not there: ${still.join(" ")}`, 2);
  }
}

const POLICY = "/usr/sbin/policy-rc.d";
/** SetupError code of a set-up that a signal ended. */
export const STOPPED = 130;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"];

/**
 * Runs `work` with a policy-rc.d that forbids maintainer scripts to start services (invoke-rc.d(8), status 101), and
 * removes it again. One that is there already is the administrator's and stays as it is. A signal in between takes
 * effect after that.
 */
async function withoutServices(work) {
  if (existsSync(POLICY)) return work();
  let stopped;
  const note = (signal) => {
    stopped = signal;
  };
  for (const signal of SIGNALS) process.on(signal, note);
  try {
    writeFileSync(POLICY, "#!/bin/sh\nexit 101\n");
    chmodSync(POLICY, 0o755);
    work();
    // The steps block this thread; only now does Node deliver what came meanwhile.
    await new Promise((resolve) => setTimeout(resolve, 10));
  } finally {
    rmSync(POLICY, { force: true });
    for (const signal of SIGNALS) process.off(signal, note);
  }
  if (stopped !== undefined) throw new SetupError(`setup: stopped by ${stopped}`, STOPPED);
}
