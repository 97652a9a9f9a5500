/**
 * The contract and hostile-input suites once more, on an addon that is built with AddressSanitizer and
 * UndefinedBehaviorSanitizer: a read or write outside of an array, or arithmetic that C does not define, ends the child
 * process with a report.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MISSING = 3;
const build = spawnSync(process.execPath, ["scripts/sanitize.mjs"], { cwd: ROOT, encoding: "utf8" });
const reason = build.status === MISSING ? build.stderr.trim() : undefined;
const SUITES = [
  "test/contract/crypto",
  "test/contract/handshake",
  "test/contract/x25519",
  "test/contract/io-native",
  "test/contract/io-fallback",
  "test/offload/split",
  "test/offload/coalesce",
];

test.skipIf(reason !== undefined)(
  `the suites are clean under the sanitizers${reason === undefined ? "" : ` (skipped: ${reason})`}`,
  () => {
    expect(build.stderr).toBe("");
    expect(build.status).toBe(0);
    const env = {
      ...process.env,
      ANYHOP_ADDON: `${ROOT}build/asan/anyhop.node`,
      LD_PRELOAD: build.stdout.trim(),
      // Node ends without freeing everything.
      ASAN_OPTIONS: "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
      UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
    };
    const argv = ["node_modules/vitest/vitest.mjs", "run", "--reporter=dot", "--testTimeout=60000", ...SUITES];
    const child = spawnSync(process.execPath, argv, { cwd: ROOT, env, encoding: "utf8", timeout: 150_000 });
    expect(`${child.stdout}${child.stderr}`).not.toMatch(/Sanitizer|runtime error/);
    expect(`${child.status}\n${child.status === 0 ? "" : child.stdout + child.stderr}`).toBe("0\n");
  },
);
