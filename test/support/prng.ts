/** Seeded random numbers, for tests. */
export { Prng } from "../../src/base/prng.ts";
