/**
 * Sequence numbers in an lmdb database below the state directory. Every reserve is one transaction that is on disk
 * when the call returns. Several instances may share the directory.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { open } from "lmdb";
import { AnyhopError } from "../base/errors.ts";
import type { SeqStore } from "../control/ports.ts";

export function openSeqStore(stateDir: string): SeqStore {
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
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
