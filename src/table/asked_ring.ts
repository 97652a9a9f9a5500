/**
 * Transactions of the requests that a client sent lately. Answers name one; whatever else seems to come from the group, as when
 * somebody floods nodes in the name of this client and they answer here, ends before the control plane sees it.
 */
/** Twice as many as a client may still have answered (handshake/initiator.ts). */
const KEPT = 8;

export class AskedRing {
  readonly #transactions = new Int32Array(KEPT);
  #count = 0;

  note(transaction: number): void {
    if (!this.has(transaction)) this.#transactions[this.#count++ % KEPT] = transaction;
  }

  has(transaction: number): boolean {
    for (let k = 0; k < Math.min(this.#count, KEPT); k++) if (this.#transactions[k] === (transaction | 0)) return true;
    return false;
  }
}
