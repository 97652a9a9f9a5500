/**
 * Why a service of a client is not up, in sentences: one entry a reason, with how often and since when. Memory and words
 * only; `client_end.ts` says what happened. A node says nothing to a client that it does not know, so silence has many
 * causes, and the sentence names each with the place to look at.
 */
import type { RefusedReason } from "../../handshake/grant.ts";
import type { ClientProblemView, ProblemReason } from "../asked/problem_reasons.ts";

/** Longer than the longest pause between two requests: a cause that was seen lately says more than one more silence. */
const SPECIFIC_MS = 40_000;

export class ClientProblems {
  readonly #seen = new Map<ProblemReason, { -readonly [K in keyof ClientProblemView]: ClientProblemView[K] }>();

  /** True when it is news: another reason than of late, or another sentence. */
  note(reason: ProblemReason, message: string, wallMs: number): boolean {
    const known = this.#seen.get(reason);
    if (known === undefined || known.over) {
      this.#seen.set(reason, { reason, message, count: 1, firstMs: wallMs, lastMs: wallMs, over: false });
      return true;
    }
    const isNews = known.message !== message;
    Object.assign(known, { message, count: known.count + 1, lastMs: wallMs });
    return isNews;
  }

  /** The service is up. */
  settled(): void {
    for (const problem of this.#seen.values()) problem.over = true;
  }

  /** The one that explains most; null: there never was one. */
  get worst(): ClientProblemView | null {
    const rank = ({ reason, lastMs, over }: ClientProblemView) =>
      (over ? 0 : Number.MAX_SAFE_INTEGER / 2) + lastMs - (reason === "no_answer" ? SPECIFIC_MS : 0);
    const [first] = [...this.#seen.values()].sort((a, b) => rank(b) - rank(a));
    return first === undefined ? null : { ...first };
  }
}

/** What each refusal of a node means, and where it is mended. */
export const refusals: Readonly<Record<RefusedReason, string>> = {
  no_common_aead: "it has no cipher in common with this client: run one version of anyhop",
  mode_not_allowed: "this client may not use tunnels there: see modes in `anyhop show NAME` at the node",
  no_address: "it has no inner address for this client: its pool is used up, or has none",
  node_full: "it has no room for another session: see sessions in [node] there",
  settings_too_long: "what it would tell this client does not fit into an answer: fewer networks",
};

/** `place`: "192.0.2.1:4444"; `publicKey` of the client, in base64. */
export function silence(place: string, tries: number, forS: number, publicKey: string): string {
  return (
    `${place} does not answer: ${tries === 1 ? "1 request" : `${tries} requests`} in ${forS} s and no word. Look there, since a node says nothing to ` +
    "strangers: does it run and listen at this address and port (anyhop status); does UDP pass both ways; is " +
    `public_key here the key of that group (another group key is not answered); is ${publicKey} among its clients ` +
    "(anyhop clients list), or was it removed"
  );
}
