/** What a server sends at once is taken in a slice at a time: other events come in between. */
import { expect, test } from "vitest";
import { Intake } from "../../src/drivers/intake.ts";

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const COUNT = 1000;

test("everything is taken in, in order, and nothing waits for all of it", async () => {
  const intake = new Intake();
  const taken: number[] = [];
  const atTurn: number[] = [];
  for (let n = 0; n < COUNT; n++) intake.push(() => void taken.push(n));
  expect(taken).toEqual([]);
  while (taken.length < COUNT) {
    await turn();
    atTurn.push(taken.length);
  }
  expect(taken).toEqual(Array.from({ length: COUNT }, (_, n) => n));
  const steps = atTurn.map((count, i) => count - (atTurn[i - 1] ?? 0));
  expect(Math.max(...steps)).toBeLessThanOrEqual(64);
});

test("what is pushed while a slice runs comes behind it", async () => {
  const intake = new Intake();
  const taken: string[] = [];
  intake.push(() => {
    taken.push("first");
    intake.push(() => void taken.push("third"));
  });
  intake.push(() => void taken.push("second"));
  while (taken.length < 3) await turn();
  expect(taken).toEqual(["first", "second", "third"]);
});

test("after the end nothing is taken in", async () => {
  const intake = new Intake();
  let count = 0;
  const take = () => {
    count += 1;
    if (count === 70) intake.close();
  };
  for (let n = 0; n < COUNT; n++) intake.push(take);
  for (let n = 0; n < COUNT / 10; n++) await turn();
  expect(count).toBe(70);
});
