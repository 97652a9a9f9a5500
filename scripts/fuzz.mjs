// `npm run fuzz -- --inputs N --seed S`: the fuzz suite of test/fuzz with N inputs (a million) from seed S (of the clock).
// The same seed gives the same inputs; what fails is printed with the parser and the input.
import { spawnSync } from "node:child_process";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const number = (text, flag) => {
  if (/^[0-9]{1,12}$/.test(text)) return text;
  console.error(`fuzz: ${flag} takes a whole number, not "${text}"`);
  process.exit(2);
};
const { values } = parseArgs({ options: { inputs: { type: "string" }, seed: { type: "string" } } });
const inputs = number(values.inputs ?? "1000000", "--inputs");
const seed = number(values.seed ?? String(Date.now() % 2 ** 31), "--seed");
console.log(`fuzz: ${inputs} inputs from seed ${seed}; again with: npm run fuzz -- --inputs ${inputs} --seed ${seed}`);
const { status } = spawnSync("npx", ["vitest", "run", "test/fuzz", "--disable-console-intercept"], {
  cwd: dirname(dirname(fileURLToPath(import.meta.url))),
  env: { ...process.env, ANYHOP_FUZZ_INPUTS: inputs, ANYHOP_FUZZ_SEED: seed },
  stdio: "inherit",
});
process.exit(status ?? 1);
