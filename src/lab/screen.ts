/**
 * The terminal while the picture is live: the alternate screen without a cursor, and the way back to what was there,
 * also when the process dies of an error.
 */
import type { WriteStream } from "node:tty";

const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
const CLEAR_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";

export class Screen {
  readonly #terminal: WriteStream;
  #open = true;

  constructor(terminal: WriteStream) {
    this.#terminal = terminal;
    terminal.write(ENTER);
  }

  /** Shows what `lines` gives for the terminal's present size. Overwrites in place: clearing first would flicker. */
  draw(lines: (columns: number, rows: number) => readonly string[]): void {
    if (!this.#open) return;
    const text = lines(this.#terminal.columns || 80, this.#terminal.rows || 24);
    this.#terminal.write(HOME + text.map((line) => line + CLEAR_LINE).join("\r\n") + CLEAR_BELOW);
  }

  /** Puts the terminal back; more than once does no harm. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#terminal.write(LEAVE);
  }
}
