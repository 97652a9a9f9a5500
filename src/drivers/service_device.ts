/**
 * The device that holds the service addresses: a TUN that nobody reads from. It is there as long as this process, so
 * that a routing daemon which takes its routes from it withdraws them when the process is gone, kill -9 included; it goes
 * before the device of the tunnels, which takes the kernel tens of milliseconds. Packets to its own addresses the kernel
 * delivers without it; what is routed into it by mistake fills its queue (500 packets), and the kernel drops the rest and
 * counts it at the device.
 */
import type { HostNetwork } from "../control/ports.ts";
import { createMemory } from "../dataplane/batch.ts";
import { createNativeIo } from "./native.ts";

/** Nothing is sent over it, so its size does not matter; this one fits every tool. */
const MTU = 1500;

export interface ServiceDevice {
  /** What was done on this host, one sentence each. */
  readonly changes: readonly string[];
  close(): void;
}

/**
 * Makes the device with its addresses ("192.0.2.1/32"), up. Throws AnyhopError. Once in a thread: the addon binds memory
 * once, here memory that is never touched.
 */
export async function openServiceDevice(
  name: string,
  addresses: readonly string[],
  host: HostNetwork,
): Promise<ServiceDevice> {
  const io = createNativeIo(createMemory());
  try {
    io.openDevice(name, false, undefined, true);
    const changes = await host.configure({ name, mtuBytes: MTU, addresses, routes: [] });
    return { changes: changes.map((change) => `${change} (service addresses)`), close: () => io.close() };
  } catch (error) {
    io.close();
    throw error;
  }
}
