/** Log records, the limiter on a virtual clock, and the real sinks. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { createLogger, formatText, LogLimiter, type LogRecord, type Sink } from "../../src/base/log.ts";
import { openSinks } from "../../src/drivers/log_sinks.ts";

function virtual() {
  let now = 0;
  return {
    advance: (ms: number) => (now += ms),
    clock: { monotonicMs: () => now, wallMs: () => 1_700_000_000_000 + now },
  };
}
function memory(level: number): Sink & { records: LogRecord[] } {
  const records: LogRecord[] = [];
  return { level, records, write: (record) => records.push(record), close: () => {} };
}

test("each sink gets its levels", () => {
  const sinks = [0, 1, 2, 3, 4, 5].map(memory);
  const log = createLogger(virtual().clock, sinks);
  for (const level of ["error", "warning", "notice", "info", "debug"] as const) log[level]("event", level);
  expect(sinks.map(({ records }) => records.length)).toEqual([0, 1, 2, 3, 4, 5]);
  expect(sinks[5].records[2]).toMatchObject({ level: 3, event: "event", message: "notice", timeMs: 1_700_000_000_000 });
});

test("text is one line, whatever a peer put into it", () => {
  const line = formatText({
    level: 2,
    timeMs: 0,
    event: "e",
    message: "a\nb\u001b[0m",
    fields: { peer: "192.0.2.1:1", n: 3 },
  });
  expect(line).toBe("1970-01-01T00:00:00.000Z warning a b [0m peer=192.0.2.1:1 n=3");
});

test("the limiter lets one line per key and second out and counts the rest", () => {
  const { clock, advance } = virtual();
  const limiter = new LogLimiter(clock);
  const lines: string[] = [];
  const log = (key: string, n: number) => limiter.log(key, (suffix) => lines.push(`${key}${n}${suffix}`));
  log("a", 1);
  log("b", 1);
  for (let n = 2; n < 7; n++) log("a", n);
  advance(999);
  log("a", 7);
  limiter.flush();
  expect(lines).toEqual(["a1", "b1"]);
  advance(1);
  log("a", 8);
  expect(lines.slice(2)).toEqual(["a8 (and 6 more)"]);
});

test("flush writes what is left, once", () => {
  const { clock, advance } = virtual();
  const limiter = new LogLimiter(clock);
  const lines: string[] = [];
  for (let n = 1; n <= 3; n++) limiter.log("a", (suffix) => lines.push(`a${n}${suffix}`));
  advance(1000);
  limiter.flush();
  limiter.flush();
  expect(lines).toEqual(["a1", "a3 (and 1 more)"]);
  advance(1000);
  limiter.flush();
  limiter.log("a", (suffix) => lines.push(`again${suffix}`));
  expect(lines.slice(2)).toEqual(["again"]);
});

test("ten thousand keys share one bucket beyond the limit", () => {
  const { clock } = virtual();
  const limiter = new LogLimiter(clock);
  let lines = 0;
  for (let n = 0; n < 10_000; n++) limiter.log(`peer${n}`, () => lines++);
  expect(lines).toBe(1025);
});

test("file and syslog sinks", async () => {
  const folder = mkdtempSync(`${tmpdir()}/anyhop-log-${process.pid}-`);
  try {
    const calls: unknown[] = [];
    const sinks = await openSinks(
      [
        { kind: "file", level: 3, path: `${folder}/a.log` },
        { kind: "syslog", level: 5, ident: "hop", facility: 3 },
      ],
      (...call) => calls.push(call),
    );
    const log = createLogger(virtual().clock, sinks);
    log.error("e", "broken", { tunnel: "a" });
    log.debug("d", "detail");
    for (const sink of sinks) sink.close();
    expect(readFileSync(`${folder}/a.log`, "utf8")).toBe("2023-11-14T22:13:20.000Z error broken tunnel=a\n");
    expect(calls).toEqual([
      [3, "hop", 3, "broken tunnel=a"],
      [3, "hop", 7, "detail"],
    ]);
    await expect(openSinks([{ kind: "file", level: 3, path: `${folder}/none/a.log` }], () => {})).rejects.toMatchObject(
      {
        code: "log_file",
        message: expect.stringContaining(`${folder}/none/a.log`),
      },
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("standard streams: text, JSON with the fields on top, and lines that cannot be written are lost", async () => {
  const folder = mkdtempSync(`${tmpdir()}/anyhop-log-${process.pid}-`);
  try {
    const fds = { stdout: openSync(`${folder}/out`, "w"), stderr: openSync(`${folder}/err`, "w") };
    const targets = [
      { kind: "stdout", level: 4 },
      { kind: "stderr", level: 1 },
      { kind: "json", level: 3 },
    ] as const;
    const log = createLogger(virtual().clock, await openSinks(targets, () => {}, fds));
    log.notice("roamed", "The peer moved.", { tunnel: "a", port: 9 });
    closeSync(fds.stdout);
    closeSync(fds.stderr);
    log.error("late", "Nobody reads this.");
    expect(readFileSync(`${folder}/out`, "utf8")).toBe(
      "2023-11-14T22:13:20.000Z notice The peer moved. tunnel=a port=9\n",
    );
    expect(JSON.parse(readFileSync(`${folder}/err`, "utf8"))).toEqual({
      level: "notice",
      time: "2023-11-14T22:13:20.000Z",
      event: "roamed",
      message: "The peer moved.",
      tunnel: "a",
      port: 9,
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
