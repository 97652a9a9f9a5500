// Builds the addon with AddressSanitizer and UndefinedBehaviorSanitizer into build/asan/anyhop.node, with the sources and
// warnings of binding.gyp. Prints the path of the runtime library that a node process has to preload. Exit code 3: the
// compiler has no sanitizers here.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const text = readFileSync(join(root, "binding.gyp"), "utf8");
const sources = [...text.matchAll(/"(native\/[a-z0-9_]+\.c)"/g)].map(([, file]) => join(root, file));
const defines = /"defines": \[([^\]]*)\]/.exec(text)[1].match(/[A-Z_]+(=\d+)?/g);

const library = execFileSync("gcc", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim();
if (!library.startsWith("/")) {
  console.error("gcc has no libasan here: install libasan or gcc with its sanitizers");
  process.exit(3);
}
const prefixes = [dirname(dirname(realpathSync(process.execPath))), "/usr"];
const headers = prefixes
  .map((prefix) => join(prefix, "include/node"))
  .find((dir) => existsSync(join(dir, "node_api.h")));
if (headers === undefined) {
  console.error("the headers of Node are missing: node_api.h");
  process.exit(3);
}
mkdirSync(join(root, "build/asan"), { recursive: true });
const flags = ["-std=c11", "-O1", "-g", "-fPIC", "-shared", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"];
const argv = [
  ...flags,
  "-fsanitize=address,undefined",
  ...defines.map((word) => `-D${word}`),
  ...["-I", headers, "-I", join(root, "native")],
  ...["-o", join(root, "build/asan/anyhop.node")],
  ...sources,
];
const { status } = spawnSync("gcc", argv, { stdio: ["ignore", "inherit", "inherit"] });
if (status !== 0) process.exit(1);
console.log(library);
