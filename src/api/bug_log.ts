/**
 * Writes what the control socket answers with "This is a bug" to the log, with the stack that a report needs. A script that
 * asks again and again is one line a second and operation.
 */
import type { Clock } from "../base/clock.ts";
import { type Logger, LogLimiter } from "../base/log.ts";

/** For ApiOptions.onBug. */
export function bugLog(log: Logger, clock: Clock): (error: Error, operation: string) => void {
  const limiter = new LogLimiter(clock);
  return (error, operation) =>
    limiter.log(operation, (more) =>
      log.error("internal", `${operation} failed inside the daemon${more}; please report this: ${error.stack}`),
    );
}
