/**
 * Sequence numbers in an lmdb database below the state directory. Every reserve is one transaction that is on disk
 * when the call returns. Several instances may share the directory.
 */
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { open } from "lmdb";
import { AnyhopError } from "../base/errors.ts";
import type { SeqStore } from "../control/ports.ts";

/** Level by level: `recursive` never returns where the kernel refuses new folders with ENOENT, as below /proc. */
function makeDirectory(path: string): void {
  if (existsSync(path)) return;
  makeDirectory(dirname(path));
  mkdirSync(path, { mode: 0o700 });
}

export function openSeqStore(stateDir: string): SeqStore {
  try {
    makeDirectory(stateDir);
    const root = open({ path: join(stateDir, "seq.mdb"), mapSize: 64 * 1024 * 1024 });
    return {
      next: (identity) => (root.get(identity) as number | undefined) ?? 0,
      reserve: (limits) => {
        root.transactionSync(() => {
          for (const [identity, limit] of limits) root.putSync(identity, limit);
        });
      },
      close: () => root.close(),
    };
  } catch (cause) {
    throw new AnyhopError(
      "state_dir",
      `Sequence numbers cannot be kept in ${stateDir} (${(cause as Error).message}). They must survive a restart, or a ` +
        "key stream would be used twice: name a writable directory (--state-dir, or state under [paths]).",
      { cause },
    );
  }
}
