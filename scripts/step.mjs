// How the scripts run a step: one line on standard error while all is well, the step's whole output when it fails.
// Standard output belongs to what comes after the set-up (`npm start -- --json` prints one JSON object) and stays empty.
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/** Ends the script: `message` for the reader, `code` 2 when the reader has to do something first, 1 for a failed step. */
export class SetupError extends Error {
  constructor(message, code = 1) {
    super(message);
    this.code = code;
  }
}

export function say(line) {
  process.stderr.write(`setup: ${line}\n`);
}

/**
 * Runs one command to its end. `what` is the progress line.
 * Throws SetupError with the command and everything that it printed.
 */
export function step(what, command, args, options = {}) {
  say(what);
  const run = spawnSync(command, args, { stdio: ["ignore", "pipe", "pipe"], maxBuffer: 1 << 28, ...options });
  if (run.status === 0) return;
  const output = `${run.stdout ?? ""}${run.stderr ?? ""}`.trimEnd();
  const why = run.error
    ? run.error.message
    : run.signal
      ? `was stopped by ${run.signal}`
      : `ended with status ${run.status}`;
  throw new SetupError(`${output}${output ? "\n" : ""}setup: \`${[command, ...args].join(" ")}\` ${why}`);
}

/** Runs `work` while no other set-up of this tree is at work; waits for it, and takes over the lock of a dead one. */
export async function alone(lockPath, work) {
  const lock = take(lockPath);
  try {
    return await work();
  } finally {
    closeSync(lock);
    rmSync(lockPath, { force: true });
  }
}

function take(lockPath) {
  try {
    mkdirSync(dirname(lockPath), { recursive: true });
  } catch (error) {
    throw new SetupError(`setup: cannot make ${dirname(lockPath)}: ${error.message}`, 2);
  }
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (let turn = 0; ; turn++) {
    try {
      const lock = openSync(lockPath, "wx");
      writeSync(lock, String(process.pid));
      return lock;
    } catch (error) {
      if (error.code !== "EEXIST") throw new SetupError(`setup: cannot write ${lockPath}: ${error.message}`, 2);
    }
    const owner = ownerOf(lockPath);
    if (owner !== undefined && !alive(owner)) {
      rmSync(lockPath, { force: true });
      continue;
    }
    if (turn === 0) say(`waiting for the set-up that process ${owner ?? "?"} is doing`);
    if (turn > 3000) {
      throw new SetupError(`setup: ${lockPath} is held for ten minutes; remove it if no set-up is running`, 2);
    }
    Atomics.wait(sleeper, 0, 0, 200);
  }
}

/** The process id in the lock file, or undefined while it is being written or just went away. */
function ownerOf(lockPath) {
  try {
    const pid = Number(readFileSync(lockPath, "utf8"));
    return pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}
