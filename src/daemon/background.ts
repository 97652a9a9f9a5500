/** `anyhop classic` without -D: goes into the background like the originals, but not before packets flow. */
import { spawn } from "node:child_process";

/**
 * Starts this program again with `argv` and waits until the child says that it is ready. Returns the exit code for the
 * parent: 0, or the child's after its complaints were printed.
 */
export function startInBackground(argv: readonly string[], err: (text: string) => void): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [process.argv[1], ...argv], {
      detached: true,
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    let said = "";
    child.stderr!.on("data", (chunk) => {
      said += chunk;
    });
    child.on("message", () => {
      err(said);
      child.disconnect();
      child.stderr!.destroy();
      child.unref();
      resolve(0);
    });
    child.on("close", (code) => {
      err(said);
      resolve(code ?? 1);
    });
  });
}

/** In the child: lets the parent go. */
export function tellParent(): void {
  if (!process.send) return;
  process.send("ready");
  process.disconnect();
}
