/**
 * What a log line is, who may write one how often, and where lines can go. Pure: time comes in through a `Clock`, lines
 * leave through sinks (`drivers/log_sinks.ts`). Nothing here is called per packet, and no field may hold a secret.
 */
import type { Clock } from "./clock.ts";

/** Numbers of anytun's `-L`: 1 error, 2 warning, 3 notice, 4 info, 5 debug. A target with level 0 is silent. */
export type Level = 1 | 2 | 3 | 4 | 5;
export const ERROR = 1;
export const WARNING = 2;
export const NOTICE = 3;
export const INFO = 4;
export const DEBUG = 5;
export const levelNames = ["none", "error", "warning", "notice", "info", "debug"] as const;

export type Fields = Readonly<Record<string, string | number | boolean>>;

export interface LogRecord {
  readonly level: Level;
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** Stable name for programs, as "auth_failed". */
  readonly event: string;
  /** A sentence for people. */
  readonly message: string;
  readonly fields: Fields;
}

export interface Sink {
  /** Records above this level are not for this sink. */
  readonly level: number;
  /** Never throws: a log that cannot be written must not stop a daemon. */
  write(record: LogRecord): void;
  close(): void;
}

export interface Logger {
  error(event: string, message: string, fields?: Fields): void;
  warning(event: string, message: string, fields?: Fields): void;
  notice(event: string, message: string, fields?: Fields): void;
  info(event: string, message: string, fields?: Fields): void;
  debug(event: string, message: string, fields?: Fields): void;
}

/** A logger that stamps records with the wall clock and hands each to every sink that wants its level. */
export function createLogger(clock: Clock, sinks: readonly Sink[]): Logger {
  const at =
    (level: Level) =>
    (event: string, message: string, fields: Fields = {}) => {
      const record: LogRecord = { level, timeMs: clock.wallMs(), event, message, fields };
      for (const sink of sinks) if (level <= sink.level) sink.write(record);
    };
  return { error: at(ERROR), warning: at(WARNING), notice: at(NOTICE), info: at(INFO), debug: at(DEBUG) };
}

/** One line of text without a newline: ISO time, level, message, fields. Control characters become spaces. */
export function formatText(record: LogRecord): string {
  return `${new Date(record.timeMs).toISOString()} ${levelNames[record.level]} ${formatMessage(record)}`;
}

/** Message and fields without time and level, for syslog, which adds its own. */
export function formatMessage(record: LogRecord): string {
  let line = record.message;
  for (const [key, value] of Object.entries(record.fields)) line += ` ${key}=${value}`;
  return line.replace(/[\u0000-\u001f\u007f]/g, " ");
}

/** Names that one limiter tells apart; further ones share the last bucket. */
const KEYS_MAX = 1024;
const OVERFLOW_KEY = "\u0000other";

interface Bucket {
  /** Monotonic time of the last line that went out. */
  lastMs: number;
  /** Lines held back since then. */
  held: number;
  emit: (suffix: string) => void;
}

/**
 * Lets one line per key and interval out and counts the rest: the next line of the key, or `flush`, says how many were
 * held back. Memory is bounded: at most KEYS_MAX keys.
 */
export class LogLimiter {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(clock: Clock, intervalMs = 1000) {
    this.#clock = clock;
    this.#intervalMs = intervalMs;
  }

  /**
   * Writes now, or counts. `emit` receives "" or " (and N more)" to append to its message; it is kept until `flush`
   * may need it, so it must not hold large things.
   */
  log(key: string, emit: (suffix: string) => void): void {
    const now = this.#clock.monotonicMs();
    const known = this.#buckets.has(key) || this.#buckets.size < KEYS_MAX;
    const name = known ? key : OVERFLOW_KEY;
    const bucket = this.#buckets.get(name);
    if (bucket === undefined) {
      this.#buckets.set(name, { lastMs: now, held: 0, emit });
      emit("");
      return;
    }
    bucket.emit = emit;
    if (now - bucket.lastMs < this.#intervalMs) {
      bucket.held += 1;
      return;
    }
    this.#release(bucket, now);
  }

  /** Writes what was held back longer than the interval and forgets keys that fell silent. Call about once a second. */
  flush(): void {
    const now = this.#clock.monotonicMs();
    for (const [key, bucket] of this.#buckets) {
      if (now - bucket.lastMs < this.#intervalMs) continue;
      if (bucket.held === 0) this.#buckets.delete(key);
      else {
        bucket.held -= 1; // the line that is written now is one of them
        this.#release(bucket, now);
      }
    }
  }

  #release(bucket: Bucket, now: number): void {
    const suffix = bucket.held === 0 ? "" : ` (and ${bucket.held} more)`;
    bucket.held = 0;
    bucket.lastMs = now;
    bucket.emit(suffix);
  }
}

/** One destination of log lines, as `-L` names it. `level` 0-5. */
export type LogTarget =
  | { readonly kind: "stdout" | "stderr" | "json"; readonly level: number }
  | { readonly kind: "file"; readonly level: number; readonly path: string }
  | { readonly kind: "syslog"; readonly level: number; readonly ident: string; readonly facility: number };

/** Facility numbers of RFC 5424 section 6.2.1, under the names of syslog(3). */
const facilities: Readonly<Record<string, number>> = {
  ...{
    kern: 0,
    user: 1,
    mail: 2,
    daemon: 3,
    auth: 4,
    syslog: 5,
    lpr: 6,
    news: 7,
    uucp: 8,
    cron: 9,
    authpriv: 10,
    ftp: 11,
  },
  ...{ local0: 16, local1: 17, local2: 18, local3: 19, local4: 20, local5: 21, local6: 22, local7: 23 },
};

/**
 * Parses `target:level[,param1[,param2]]` of anytun and uanytun, plus the target `json` (one JSON object a line on
 * stderr). Returns a sentence when it cannot.
 */
export function parseLogTarget(text: string): LogTarget | string {
  const match = /^([a-z]+)(?::([0-9]+))?((?:,.*)?)$/s.exec(text);
  const params = match?.[3] ? match[3].slice(1).split(",") : [];
  const level = match?.[2] === undefined ? NOTICE : Number(match[2]);
  if (match === null || level > DEBUG)
    return `log target "${text}" is not TARGET:LEVEL with LEVEL 0 to 5, as in stderr:3 or syslog:3,anyhop,daemon`;
  switch (match[1]) {
    case "stdout":
    case "stderr":
    case "json":
      return { kind: match[1], level };
    case "file":
      return { kind: "file", level, path: params[0] || "anyhop.log" };
    case "syslog": {
      const name = params[1] || "daemon";
      const facility = facilities[name];
      if (facility === undefined)
        return `syslog facility "${name}" does not exist; use one of ${Object.keys(facilities).join(", ")}`;
      return { kind: "syslog", level, ident: params[0] || "anyhop", facility };
    }
    default:
      return `log target "${match[1]}" is unknown; use syslog, file, stdout, stderr or json`;
  }
}
