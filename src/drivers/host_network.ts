/** Configures devices with iproute2, in one batch a device. All of it is attached to the device and dies with it. */
import { execFile, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { AnyhopError } from "../base/errors.ts";
import type { HostNetwork } from "../control/ports.ts";
import { pinRoute } from "./pinned_route.ts";

export const hostNetwork: HostNetwork = {
  async configure(device) {
    const { name } = device;
    const hasIpv6 = device.addresses.some((a) => a.includes(":"));
    const lines = [
      // Without IPv6 addresses of its own the device needs no link-local one, nor the router solicitations it brings.
      ...(hasIpv6 ? [] : [`link set dev ${name} addrgenmode none`]),
      `link set dev ${name} mtu ${device.mtuBytes} txqueuelen ${QUEUE_PACKETS}`,
      ...device.addresses.map((a) => `address replace ${a} dev ${name}${a.includes(":") ? " nodad" : ""}`),
      `link set dev ${name} up`,
      ...device.routes.map((r) => `route replace ${r} dev ${name}`),
    ];
    await ip(lines);
    return [
      `device ${name}: mtu ${device.mtuBytes}, up`,
      ...device.addresses.map((a) => `address ${a} on ${name}`),
      ...device.routes.map((r) => `route ${r} via ${name}`),
    ];
  },

  async block(prefixes) {
    const route = (r: string) => `unreachable ${r} metric ${LAST_METRIC}`;
    await ip(prefixes.map((r) => `route replace ${route(r)}`));
    return () => ip(prefixes.map((r) => `route del ${route(r)}`));
  },

  pin: (address, device, told) => pinRoute({ ip: (words) => output("ip", words) }, address, device, told),

  run(program, args, environment) {
    return new Promise((resolve, reject) => {
      execFile(
        program,
        [...args],
        { timeout: 60_000, env: environment ?? { PATH: process.env["PATH"] } },
        (error, _out, stderr) => {
          if (!error) return resolve();
          const why = stderr.trim().split("\n").at(-1) || error.message;
          reject(new AnyhopError("hook", `The program ${program} failed: ${why}`, { cause: error }));
        },
      );
    });
  },
};

/**
 * Packets that wait in the device while a shard is not running. The kernel's 500 last 24 ms at 200 Mbit/s; a thread that
 * waits for its turn on a busy machine was away for up to 75 ms.
 */
const QUEUE_PACKETS = 2048;
/** Metric that every other route beats. */
const LAST_METRIC = 4294967295;

/** Packets for a device that the kernel dropped, because its queue was full; undefined: it does not say. */
export function queueDrops(device: string): number | undefined {
  try {
    return Number(readFileSync(`/sys/class/net/${device}/statistics/tx_dropped`, "utf8"));
  } catch {
    return undefined;
  }
}

function output(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, [...args], (error, stdout) => (error ? reject(error) : resolve(stdout)));
  });
}

/** Runs `ip -batch` on the lines. */
function ip(lines: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("ip", ["-batch", "-"], { stdio: ["pipe", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
    });
    child.on("error", (cause) =>
      reject(
        new AnyhopError("ip_tool", "The program `ip` is missing: install it with `apt-get install iproute2`.", {
          cause,
        }),
      ),
    );
    child.on("close", (code) => {
      if (code === 0) return resolve();
      const line = Number(/-:(\d+)/.exec(stderr)?.[1] ?? 0);
      const what = line > 0 ? ` at "ip ${lines[line - 1]}"` : "";
      reject(new AnyhopError("ip_tool", `Configuring the device failed${what}: ${stderr.trim().split("\n")[0]}`));
    });
    child.stdin.end(`${lines.join("\n")}\n`);
  });
}
