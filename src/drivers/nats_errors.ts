/** Stable names for what can go wrong with a NATS server, as `status` shows them. Messages hold no secrets. */
import { JetStreamApiError } from "@nats-io/jetstream";
import { AuthorizationError, PermissionViolationError, RequestError, TimeoutError } from "@nats-io/transport-node";

/** Codes of the JetStream API that mean: no room. Of server/errors.json: memory, account limits, messages, bytes, disk. */
const FULL = new Set([10023, 10028, 10047, 10063, 10076, 10077, 10119]);
const NOT_ENABLED = new Set([10039, 10076]);

const advice: Readonly<Record<string, string>> = {
  auth: "the server does not know this node's nkey (nkey_file), or it is another node's",
  permission:
    "the server does not allow this to this node's nkey; compare leaf.conf with what anyhop init engine writes for this " +
    "group and node",
  tls: "the certificates do not fit: ca_file, cert_file, key_file, and the name in url",
  unreachable: "no server answers there; is anyhop-leaf running, and is url right?",
  no_jetstream: "the server has no JetStream; leaf.conf of anyhop init engine turns it on",
  store_full: "the server has no room for more (disk, or max_file in leaf.conf)",
  refused: "the server refuses what it is asked",
  timeout:
    "the server does not answer in time; if its disk is or was full, make room and systemctl restart anyhop-leaf, " +
    "else it is busy",
};

/** Why a JetStream acknowledgement is none. */
export function nameOfCode(code: number, description: string): string {
  if (FULL.has(code) || /insufficient|no space|maximum (bytes|messages)/i.test(description)) return "store_full";
  if (NOT_ENABLED.has(code) || /not enabled/i.test(description)) return "no_jetstream";
  return "refused";
}

export function nameOfError(error: unknown): string {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if (at instanceof PermissionViolationError) return "permission";
    if (at instanceof AuthorizationError) return "auth";
    if (at instanceof JetStreamApiError) return nameOfCode(at.code, at.message);
    const code = String((at as NodeJS.ErrnoException).code ?? "");
    const text = `${code} ${at.message}`;
    if (/authorization violation|authentication/i.test(text)) return "auth";
    if (/permissions violation/i.test(text)) return "permission";
    if (/TLS|SSL|CERT|certificate|self.signed|EPROTO/i.test(text)) return "tls";
    if (/ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN|connection refused/i.test(text))
      return "unreachable";
    if (/jetstream.*not enabled/i.test(text) || at.name === "JetStreamNotEnabled") return "no_jetstream";
    if (at instanceof TimeoutError || /timeout/i.test(text)) return "timeout";
    if (at instanceof RequestError && at.isNoResponders()) return "no_jetstream";
  }
  return "connection";
}

/** A sentence for people. */
export function explain(name: string, error: unknown): string {
  const said = error instanceof Error ? error.message : String(error);
  return name in advice ? `${said}: ${advice[name]}` : said;
}
