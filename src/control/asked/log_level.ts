/** The level of all log targets, changeable while the daemon runs. Until it is set, each target has its own. */
import { type Level, levelNames, type Sink } from "../../base/log.ts";

export type LevelName = Exclude<(typeof levelNames)[number], "none">;
const names = levelNames.slice(1) as LevelName[];

export class LogLevel {
  #sinks: readonly Sink[] = [];
  #level: Level | undefined;

  /** The same sinks, with a level that follows this object. */
  attach(sinks: readonly Sink[]): Sink[] {
    this.#sinks = sinks;
    const level = (sink: Sink): number => this.#level ?? sink.level;
    return sinks.map((sink) => ({
      get level() {
        return level(sink);
      },
      write: (record) => sink.write(record),
      close: () => sink.close(),
    }));
  }

  /** The highest level that is written anywhere. */
  get(): LevelName {
    const own = Math.max(1, ...this.#sinks.map((sink) => sink.level));
    return names[(this.#level ?? own) - 1];
  }

  set(name: LevelName): void {
    this.#level = (names.indexOf(name) + 1) as Level;
  }
}
