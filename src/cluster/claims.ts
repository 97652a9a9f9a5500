/**
 * Which client has which inner address, network or name, and who else says so. The oldest claim counts, on every node
 * alike.
 */
import { compareVersions, type Version } from "./book_record.ts";

export interface Claim {
  readonly clientKey: string;
  readonly since: Version;
}

export interface ClaimConflict {
  readonly address: string;
  readonly keeper: string;
  readonly others: readonly string[];
}

export class Claims {
  /** Claims of an address, oldest first. */
  readonly #byAddress = new Map<string, readonly Claim[]>();
  readonly #contested = new Set<string>();

  keeperOf(address: string): string | undefined {
    return this.#byAddress.get(address)?.[0].clientKey;
  }

  /** Something is claimed by several. */
  get areContested(): boolean {
    return this.#contested.size > 0;
  }

  conflicts(): ClaimConflict[] {
    return Array.from(this.#contested, (address) => this.#conflict(address));
  }

  /** A client has `after` instead of `before`. Returns the conflicts that changed; those without others have ended. */
  replace(claim: Claim, before: readonly string[], after: readonly string[]): ClaimConflict[] {
    const changed: ClaimConflict[] = [];
    for (const address of before.length === 0 ? after : new Set([...before, ...after])) {
      const holders = this.#byAddress.get(address);
      if (holders === undefined && before.length === 0) {
        this.#byAddress.set(address, [claim]);
        continue;
      }
      const others = (holders ?? []).filter(({ clientKey }) => clientKey !== claim.clientKey);
      const claims = after.includes(address) ? [...others, claim].sort(compareClaims) : others;
      if (claims.length === 0) this.#byAddress.delete(address);
      else this.#byAddress.set(address, claims);
      const contested = claims.length > 1;
      if (contested) this.#contested.add(address);
      if (contested || this.#contested.delete(address)) changed.push(this.#conflict(address));
    }
    return changed;
  }

  #conflict(address: string): ClaimConflict {
    const [keeper, ...others] = this.#byAddress.get(address)!;
    return { address, keeper: keeper.clientKey, others: others.map(({ clientKey }) => clientKey) };
  }
}

const compareClaims = (a: Claim, b: Claim): number =>
  compareVersions(a.since, b.since) || (a.clientKey < b.clientKey ? -1 : 1);
