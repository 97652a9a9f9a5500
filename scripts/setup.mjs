// `node scripts/setup.mjs build|lab|test|bench`: makes a fresh clone ready for that, and does nothing when it is.
//
// Debian packages, npm packages, then the build; each only when something is missing or stale. Progress goes to standard
// error, standard output stays empty. Needs nothing but Node and npm; root only to install Debian packages.
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, built } from "./build.mjs";
import { checkMayInstall, installPackages, missingPackages, needs, STOPPED } from "./debian.mjs";
import { alone, SetupError, say, step } from "./step.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const MODULES_RECORD = "node_modules/.package-lock.json";
/** dist/ is ignored by git and survives a clean build of the addon. */
const LOCK = join(root, "dist/.setup.lock");
const readJson = (path) => JSON.parse(readFileSync(join(root, path), "utf8"));

function checkNode() {
  const wanted = readJson("package.json").engines.node;
  const [major, minor] = wanted.match(/\d+/g).map(Number);
  const [ourMajor, ourMinor] = process.versions.node.split(".").map(Number);
  if (ourMajor > major || (ourMajor === major && ourMinor >= minor)) return;
  throw new SetupError(
    `setup: this is Node ${process.versions.node}, anyhop needs ${wanted}; see https://nodejs.org/en/download`,
    2,
  );
}

/**
 * True when node_modules holds what package-lock.json asks for: npm writes MODULES_RECORD last, so a broken-off
 * installation has none. Optional packages are those of other machines and may be absent.
 */
function modulesFresh() {
  if (!existsSync(join(root, MODULES_RECORD))) return false;
  const present = readJson(MODULES_RECORD).packages;
  return Object.entries(readJson("package-lock.json").packages).every(([path, wanted]) => {
    if (path === "") return true;
    const found = present[path];
    if (found === undefined) return wanted.optional === true || wanted.devOptional === true;
    return found.version === wanted.version && found.integrity === wanted.integrity;
  });
}

function installModules() {
  // The registry, cache and proxies are the user's configuration. The log level of .npmrc would hide errors. Without
  // scripts, because npm would run node-gyp for our own binding.gyp, with headers of its own choice; those of the
  // dependencies run below, by name.
  const quiet = ["--loglevel=error", "--no-audit", "--no-fund"];
  step("npm ci", "npm", ["ci", "--include=dev", "--ignore-scripts", ...quiet], { cwd: root });
  const scripted = Object.entries(readJson("package-lock.json").packages)
    .filter(([path, entry]) => entry.hasInstallScript === true && path !== "" && existsSync(join(root, path)))
    .map(([path]) => path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length));
  if (scripted.length === 0) return;
  const names = [...new Set(scripted)];
  try {
    step(`npm rebuild ${names.join(" ")}`, "npm", ["rebuild", "--ignore-scripts=false", ...quiet, ...names], {
      cwd: root,
    });
  } catch (error) {
    // Without this record the next set-up does it all again.
    rmSync(join(root, MODULES_RECORD), { force: true });
    throw error;
  }
}

async function setUpPackages(what) {
  const missing = missingPackages(what);
  if (missing.length === 0) return;
  try {
    checkMayInstall(missing);
    await alone(LOCK, () => installPackages(missing));
  } catch (error) {
    // Tests that lack their program skip and say so; only the gate insists, because there a skip would hide a fault.
    const optional = what === "test" && process.env["CI"] !== "true" && missingPackages("build").length === 0;
    if (!optional || !(error instanceof SetupError) || error.code === STOPPED) throw error;
    process.stderr.write(`${error.message}\n`);
    say("going on; tests that need them are skipped");
  }
}

async function setUpTree() {
  // The usual case takes no lock and writes nothing, so it also works in a tree that is read-only for us.
  if (modulesFresh() && built(root)) return;
  const started = Date.now();
  await alone(LOCK, () => {
    if (!modulesFresh()) installModules();
    build(root);
  });
  say(`ready in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

const what = process.argv[2];
try {
  if (what === undefined || !Object.hasOwn(needs, what) || process.argv.length > 3) {
    throw new SetupError(`setup: say what for: node scripts/setup.mjs ${Object.keys(needs).join("|")}`, 2);
  }
  checkNode();
  await setUpPackages(what);
  await setUpTree();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = error.code;
}
