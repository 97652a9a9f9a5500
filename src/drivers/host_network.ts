/** Configures devices with iproute2, in one batch a device. All of it is attached to the device and dies with it. */
import { execFile, spawn } from "node:child_process";
import { AnyhopError } from "../base/errors.ts";
import type { HostNetwork } from "../control/ports.ts";

export const hostNetwork: HostNetwork = {
  async configure(device) {
    const { name } = device;
    const hasIpv6 = device.addresses.some((a) => a.includes(":"));
    const lines = [
      // Without IPv6 addresses of its own the device needs no link-local one, nor the router solicitations it brings.
      ...(hasIpv6 ? [] : [`link set dev ${name} addrgenmode none`]),
      `link set dev ${name} mtu ${device.mtuBytes}`,
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

  async pin(address) {
    const [found] = JSON.parse(await output("ip", ["-j", "route", "get", address])) as {
      gateway?: string;
      dev: string;
    }[];
    const host = `${address}/${address.includes(":") ? 128 : 32}`;
    const way = `${host}${found.gateway === undefined ? "" : ` via ${found.gateway}`} dev ${found.dev}`;
    await ip([`route replace ${way}`]);
    return () => ip([`route del ${way}`]);
  },

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

/** Metric that every other route beats. */
const LAST_METRIC = 4294967295;

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
