/** Sessions that wait for their clients, against a list that is searched. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { WaitingSessions } from "../../src/control/group/waiting_sessions.ts";

test("each session waits once, in order, until it is deleted or its client is taken", () => {
  const index = fc.nat(5);
  const client = fc.constantFrom("a", "b");
  const step = fc.oneof(
    fc.record({ kind: fc.constant("add" as const), client, index }),
    fc.record({ kind: fc.constant("delete" as const), index }),
    fc.record({ kind: fc.constant("take" as const), client }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const waiting = new WaitingSessions();
      let model: { client: string; index: number }[] = [];
      for (const step of steps) {
        if (step.kind === "take") {
          const own = model.filter((one) => one.client === step.client).map((one) => one.index);
          expect(waiting.take(step.client)).toEqual(own);
          model = model.filter((one) => one.client !== step.client);
        } else {
          model = model.filter((one) => one.index !== step.index);
          if (step.kind === "add") {
            waiting.add(step.client, step.index);
            model.push({ client: step.client, index: step.index });
          } else waiting.delete(step.index);
        }
        expect(waiting.first).toBe(model[0]?.index);
      }
      for (const one of model) {
        expect(waiting.first).toBe(one.index);
        waiting.delete(one.index);
      }
      expect(waiting.first).toBeUndefined();
    }),
  );
});
