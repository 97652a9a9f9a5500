/** The thread of `config_reader.ts`: reads one file, judges it, and says what came of it. */
import { parentPort, workerData } from "node:worker_threads";
import { AnyhopError } from "../base/errors.ts";
import { parseFile } from "../control/config/config_file.ts";
import * as configEnv from "../drivers/config_env.ts";
import type { ConfigAnswer } from "./config_reader.ts";

const { file } = workerData as { file: string };

function answer(): ConfigAnswer {
  try {
    const text = configEnv.readText(file);
    if (text === undefined) return { refused: { code: "usage", message: `There is no file ${file}.` } };
    return { parsed: parseFile(text, file, configEnv) };
  } catch (error) {
    if (error instanceof AnyhopError) return { refused: { code: error.code, message: error.message } };
    throw error;
  }
}

parentPort!.postMessage(answer());
