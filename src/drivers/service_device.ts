/**
 * The device that holds the service addresses: a TUN that nobody reads from. It is there as long as this process, so
 * that a routing daemon which takes its routes from it withdraws them when the process is gone, kill -9 included; it goes
 * before the device of the tunnels, which takes the kernel tens of milliseconds. Packets to its own addresses the kernel
 * delivers without it; what is routed into it by mistake fills its queue (500 packets), and the kernel drops the rest and
 * counts it at the device.
 */
import { createMemory } from "../dataplane/batch.ts";
import { createNativeIo } from "./native.ts";

export interface ServiceDevice {
  close(): void;
}

/** Makes the device, without addresses. Throws AnyhopError. Once in a thread: the addon binds memory once, here memory that is never touched. */
export function openServiceDevice(name: string): ServiceDevice {
  const io = createNativeIo(createMemory());
  try {
    io.openDevice(name, false, undefined, true);
    return { close: () => io.close() };
  } catch (error) {
    io.close();
    throw error;
  }
}
