/**
 * Reads and judges a configuration file in a thread of its own, which is ended when it takes too long: whatever a file
 * does to the parser, the daemon goes on. The memory of the syntax tree goes with the thread (10,000 tunnels take
 * 400 MB).
 */
import { Worker } from "node:worker_threads";
import { AnyhopError } from "../base/errors.ts";
import type { ParsedFile } from "../control/config/config_file.ts";

/** 16,384 tunnels, the most that a file may have, take 6 s on a small machine that does nothing else. */
const TIME_MAX_MS = 60_000;
/** Three times what they take. */
const HEAP_MAX_MB = 2048;

/** What the thread says. */
export type ConfigAnswer =
  | { readonly parsed: ParsedFile }
  | { readonly refused: { readonly code: string; readonly message: string } };

/** Throws AnyhopError "usage" when there is no such file, "file_read", "config_timeout" or "config_memory". */
export async function readConfigFile(file: string, timeMaxMs = TIME_MAX_MS): Promise<ParsedFile> {
  const worker = new Worker(new URL("./config_worker.js", import.meta.url), {
    workerData: { file },
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MAX_MB },
  });
  let timer: NodeJS.Timeout | undefined;
  try {
    const answer = await new Promise<ConfigAnswer>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", (error) => reject(explain(error, file)));
      worker.once("exit", () => reject(new Error("The thread that reads the configuration has ended.")));
      timer = setTimeout(() => {
        const sentence = `${file} was not read within ${timeMaxMs / 1000} s, so it is refused: is it on a disk that does not answer, or far larger than any configuration?`;
        reject(new AnyhopError("config_timeout", sentence));
      }, timeMaxMs);
    });
    if ("refused" in answer) throw new AnyhopError(answer.refused.code, answer.refused.message);
    return answer.parsed;
  } finally {
    clearTimeout(timer);
    // Not awaited: a thread that waits for a disk ends when the disk answers.
    void worker.terminate();
  }
}

function explain(error: NodeJS.ErrnoException, file: string): Error {
  if (error.code !== "ERR_WORKER_OUT_OF_MEMORY") return error;
  return new AnyhopError("config_memory", `${file} takes more than ${HEAP_MAX_MB} MB to read, so it is refused.`);
}
