// Builds what is older than its sources: the C addon with node-gyp, the TypeScript with tsc. "Older" is told by a hash
// of the sources in dist/, not by times, which a clone or a branch switch sets at will.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { say, step } from "./step.mjs";

/** Every file below `path`, sorted; a file is itself; nothing when it does not exist. */
function filesOf(root, path) {
  const full = join(root, path);
  if (!existsSync(full)) return [];
  let entries;
  try {
    entries = readdirSync(full, { recursive: true, withFileTypes: true });
  } catch {
    return [path];
  }
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

function hashOf(root, paths) {
  const hash = createHash("sha256").update(process.version);
  for (const file of paths.flatMap((path) => filesOf(root, path))) {
    hash.update(`\0${file}\0`).update(readFileSync(join(root, file)));
  }
  return hash.digest("hex");
}

const outputOf = (source) => source.replace(/^src/, "dist").replace(/\.ts$/, ".js");
const sourcesOf = (root) => filesOf(root, "src").filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"));

const parts = [
  {
    stamp: "dist/.native-stamp",
    sources: ["native", "binding.gyp", "src/dataplane/layout.ts", "src/dataplane/verdict.ts", "scripts/layout.mjs"],
    complete: (root) => filesOf(root, "build/Release").some((file) => file.endsWith(".node")),
    make: makeNative,
  },
  {
    stamp: "dist/.ts-stamp",
    sources: ["src", "tsconfig.json", "tsconfig.build.json", "node_modules/typescript/package.json"],
    complete: (root) => sourcesOf(root).every((source) => existsSync(join(root, outputOf(source)))),
    make: makeTypeScript,
  },
];

function isFresh(root, part) {
  const stamp = join(root, part.stamp);
  return existsSync(stamp) && part.complete(root) && readFileSync(stamp, "utf8") === hashOf(root, part.sources);
}

/** True when nothing would be built. */
export function built(root) {
  return parts.every((part) => isFresh(root, part));
}

/** Builds the stale parts. Throws SetupError with the compiler's whole output. */
export function build(root) {
  for (const part of parts) {
    if (isFresh(root, part)) continue;
    rmSync(join(root, part.stamp), { force: true });
    part.make(root);
    mkdirSync(join(root, "dist"), { recursive: true });
    writeFileSync(join(root, part.stamp), hashOf(root, part.sources));
  }
}

function makeNative(root) {
  step("layout.h from layout.ts", process.execPath, ["scripts/layout.mjs"], { cwd: root });
  const gyp = join(root, "node_modules/node-gyp/bin/node-gyp.js");
  const nodedir = headersPrefix();
  step("C addon", process.execPath, [gyp, "configure", "build", ...(nodedir ? [`--nodedir=${nodedir}`] : [])], {
    cwd: root,
  });
}

/**
 * The prefix whose include/node has the headers of this Node, or undefined: then node-gyp finds or fetches them itself.
 * Headers on the machine are preferred because fetching needs a network and a second source to trust.
 */
function headersPrefix() {
  const major = process.versions.node.split(".")[0];
  const prefixes = [dirname(dirname(realpathSync(process.execPath))), "/usr"];
  return prefixes.find((prefix) => {
    const version = join(prefix, "include/node/node_version.h");
    return (
      existsSync(join(prefix, "include/node/node_api.h")) &&
      existsSync(version) &&
      readFileSync(version, "utf8").includes(`#define NODE_MAJOR_VERSION ${major}\n`)
    );
  });
}

function makeTypeScript(root) {
  const wanted = new Set(sourcesOf(root).map(outputOf));
  const present = filesOf(root, "dist").filter((file) => file.endsWith(".js"));
  for (const file of present) {
    if (wanted.has(file)) continue;
    say(`${file} has no source any more: removed`);
    rmSync(join(root, file));
    rmSync(join(root, `${file}.map`), { force: true });
  }
  // tsc trusts its build record and would not write an output again that somebody deleted.
  if (![...wanted].every((file) => present.includes(file))) rmSync(join(root, "dist/.tsbuildinfo"), { force: true });
  step("TypeScript", process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json"], {
    cwd: root,
  });
}
