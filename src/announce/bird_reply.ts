/**
 * Replies of BIRD's control socket, as bytes come in. A line is "NNNN-text" with more to follow, "NNNN text" as the last
 * of a reply, " text" under the code before, or "+text", which belongs to no reply. Codes from 8000 are refusals.
 */

export interface ReplyLine {
  readonly code: number;
  readonly text: string;
}

/** The longest reply that is read: some hundred thousand protocols. */
const REPLY_CHARS_MAX = 16 << 20;

export class ReplyReader {
  #rest = "";
  #chars = 0;
  #code = 0;
  #lines: ReplyLine[] = [];

  /** Replies that are complete now. Throws Error when this is not BIRD's protocol. */
  push(chunk: string): ReplyLine[][] {
    const replies: ReplyLine[][] = [];
    const parts = (this.#rest + chunk).split("\n");
    this.#rest = parts.pop() ?? "";
    this.#chars += chunk.length;
    if (this.#chars > REPLY_CHARS_MAX) throw new Error("its answer does not end");
    for (const line of parts) {
      if (line.startsWith("+")) continue;
      const head = /^(\d{4})([- ])(.*)$/.exec(line);
      if (head === null && (!line.startsWith(" ") || this.#lines.length === 0))
        throw new Error(`it says "${line.slice(0, 60)}"`);
      if (head !== null) this.#code = Number(head[1]);
      this.#lines.push({ code: this.#code, text: (head?.[3] ?? line.slice(1)).trimEnd() });
      if (head?.[2] !== " ") continue;
      replies.push(this.#lines);
      this.#lines = [];
      this.#chars = this.#rest.length;
    }
    return replies;
  }
}

/** The refusal in a reply, if it is one. */
export const refusalOf = (reply: readonly ReplyLine[]): ReplyLine | undefined => reply.find(({ code }) => code >= 8000);

/** Names of the protocols that are up, from the lines of "show protocols". */
export function protocolStates(reply: readonly ReplyLine[]): Map<string, string> {
  const rows = reply.filter(({ code }) => code === 1002).map(({ text }) => text.split(/\s+/));
  // Name, Proto, Table, State
  return new Map(rows.map((row) => [row[0], row[3]]));
}
