/** What `anyhop up` says at its end: what came up, or why it did not. Pure. */
import type { ServiceStatus, Status } from "../api/contract.ts";
import { leftOut, present, STATES } from "./services.ts";

/** One line for each service of a client, or one for a node, and one with "!" for everything that is wrong. */
export function renderUp({ name, services, device, listen, faults }: Status): string {
  const lines =
    services.length > 0
      ? services.map((service) => `${name} is up: ${describe(service)}`)
      : [
          `${name} is up: ${device.name} (MTU ${device.mtu}) with ${device.addresses.join(", ") || "no address"}, listening on ` +
            listen.map(({ address, port }) => `${address} port ${port}`).join(", "),
        ];
  const wrong = [...services.flatMap(({ hostProblems }) => hostProblems.map(({ text }) => text)), ...faults];
  return [...lines, ...services.flatMap(leftOut), ...wrong.map((fault) => `! ${fault}`), ""].join("\n");
}

function describe(service: ServiceStatus): string {
  const { name, remote, node, device, mtu } = service;
  const { addresses, routes } = present(service);
  const through = node === null ? remote : `node ${node} at ${remote}`;
  const inside = `${device} (MTU ${mtu}) with ${addresses.join(", ") || "no address"}`;
  return `service ${name} through ${through}, ${inside}, routes ${routes.join(", ") || "none"}`;
}

/** `then`: what becomes of the daemon. `status` null: it does not answer. */
export function notUp(status: Status | null, afterS: number, then: string): { reason: string; message: string } {
  if (status === null)
    return {
      reason: "timeout",
      message: `Not up within ${afterS} s, and its control socket does not answer; ${then}.`,
    };
  const missing = status.services.filter(({ state }) => state !== "up");
  const reasons = missing.map(({ name, state, problem, asking }) => {
    const tried = asking === null ? "" : `; ${asking.tries} requests so far`;
    // What is over does not stand in the way any more.
    if (problem === null || problem.over) return `\n  service ${name}: ${STATES[state]}${tried}`;
    return `\n  service ${name}: ${problem.reason}: ${problem.message}`;
  });
  const first = missing.find(({ problem }) => problem !== null && !problem.over)?.problem?.reason;
  const message = `${status.name} is not up within ${afterS} s; ${then}.${reasons.join("")}`;
  return { reason: first ?? "timeout", message };
}
