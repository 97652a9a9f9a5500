/**
 * Judges one large configuration file in a thread of its own: the syntax tree of 10,000 tunnels takes 400 MB, which the
 * system gets back when the thread ends. See `config_reader.ts`.
 */
import { parentPort, workerData } from "node:worker_threads";
import { parseFile } from "../control/config_file.ts";
import * as configEnv from "../drivers/config_env.ts";

const { text, file } = workerData as { text: string; file: string };
parentPort!.postMessage(parseFile(text, file, configEnv));
