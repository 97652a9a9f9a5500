/** Reads and judges a configuration file; a large one in a thread, whose memory goes with it. */
import { Worker } from "node:worker_threads";
import { AnyhopError } from "../base/errors.ts";
import { type ParsedFile, parseFile } from "../control/config_file.ts";
import * as configEnv from "../drivers/config_env.ts";

/** Characters from which on a thread is worth its start, a tenth of a second. */
const LARGE = 200_000;

export async function readConfigFile(file: string): Promise<ParsedFile> {
  const text = configEnv.readText(file);
  if (text === undefined) throw new AnyhopError("usage", `There is no file ${file}.`);
  if (text.length < LARGE) return parseFile(text, file, configEnv);
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./config_worker.js", import.meta.url), { workerData: { text, file } });
    worker.once("message", (parsed: ParsedFile) => resolve(parsed));
    worker.once("error", reject);
  });
}
