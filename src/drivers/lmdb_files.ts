/**
 * Opens lmdb files on a disk that may be full. lmdb survives that badly: when it makes its files there, the kernel ends the
 * process (SIGBUS, since the lock file is mapped memory), and a write that fails in the middle of a transaction damages the memory
 * of the process (lmdb 3.5: "corrupted size vs. prev_size" after some of them). So there is a look at the free room before both.
 */
import { closeSync, openSync, statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { open, type RootDatabase } from "lmdb";
import { makeFolder } from "./folders.ts";

/** First size of the map; lmdb grows it. */
const MAP_BYTES = 64 * 1024 * 1024;
/** Free bytes below which nothing is written: more than a transaction needs. */
const ROOM_MIN = 256 << 10;

/** Throws an Error with a sentence (without the full stop) when the disk has no room for a transaction. */
export function checkRoom(stateDir: string): void {
  const { bavail, bsize } = statfsSync(stateDir);
  if (bavail * bsize < ROOM_MIN) throw new Error(`No space left on device: fewer than ${ROOM_MIN >> 10} KiB are free`);
}

/**
 * An environment of lmdb in a folder, both made when they are missing. `names`: of the databases that will be opened in it. On a full
 * disk it opens only what is there as a whole, because reading needs no room. Throws an Error.
 */
export function openEnvironment(stateDir: string, file: string, names: readonly string[]): RootDatabase {
  makeFolder(stateDir, 0o700);
  const path = join(stateDir, file);
  for (const each of [path, `${path}-lock`]) {
    // Made first, so that no moment and no umask leaves them readable to others. lmdb fills an empty file.
    closeSync(openSync(each, "a", 0o600));
    if (statSync(each).blocks === 0) checkRoom(stateDir);
  }
  const root = open({ path, mapSize: MAP_BYTES, overlappingSync: false, maxDbs: 4096 });
  try {
    const isThere = (name: string) => [...root.getKeys({ start: name, limit: 1 })][0] === name;
    if (!names.every(isThere)) checkRoom(stateDir);
    return root;
  } catch (error) {
    void root.close();
    throw error;
  }
}
