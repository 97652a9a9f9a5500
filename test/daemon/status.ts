/** What the tests read from a daemon's status. */
import { getStatus } from "../../src/api/client.ts";
import type { Status } from "../../src/api/contract.ts";
import { sleep } from "../../src/bench/netns.ts";

const READY_TRIES = 3000;

/** Asks over the control socket; waits for the socket while the daemon starts, up to a minute. */
export async function readStatus(socketPath: string): Promise<Status> {
  for (let i = 0; ; i++) {
    try {
      return await getStatus(socketPath);
    } catch (error) {
      if (i === READY_TRIES) throw error;
      await sleep(20);
    }
  }
}

/** By how much each verdict counter grew; those that did not are left out. */
export function grown(before: Status, after: Status): Record<string, number> {
  const growth = Object.entries(after.verdicts).map(([name, n]) => [name, n - (before.verdicts[name] ?? 0)] as const);
  return Object.fromEntries(growth.filter(([, n]) => n !== 0));
}

/** Reason of the last problem of the first tunnel. */
export function problemOf(status: Status): string | undefined {
  return status.tunnels[0]?.problem?.reason;
}
