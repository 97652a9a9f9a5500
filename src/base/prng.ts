/**
 * Seeded random numbers for tests, benchmarks and simulations: the same seed gives the same run everywhere. Chris
 * Doty-Humphrey's sfc32, 128 bits of state, passes PractRand. Never for keys, salts or anything that a stranger must
 * not guess.
 */
export class Prng {
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  /** `seed`: any integer; its low 53 bits count. */
  constructor(seed: number) {
    this.a = 0;
    this.b = seed | 0;
    this.c = Math.floor(seed / 2 ** 32) | 0;
    // The author's warm-up: after 12 rounds near seeds have nothing in common.
    for (let i = 0; i < 12; i++) this.nextU32();
  }

  /** 0 to 2^32 - 1. */
  nextU32(): number {
    const result = (this.a + this.b + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + result) | 0;
    return result >>> 0;
  }

  /** 0 to n - 1, each as likely as the others. `n`: 1 to 2^32. */
  nextBelow(n: number): number {
    // The incomplete last round of n would favour small numbers: draw again.
    const limit = 2 ** 32 - (2 ** 32 % n);
    let value = this.nextU32();
    while (value >= limit) value = this.nextU32();
    return value % n;
  }
}
