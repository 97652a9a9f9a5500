/** The slab of records against a map of objects. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeRecord, type LiveRecord } from "../../src/cluster/record.ts";
import { RecordSlab } from "../../src/cluster/record_slab.ts";
import * as any from "./arbitrary.ts";

test("rows keep what was put, short or long, through growth, confirmation and other rows", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("put" as const), row: fc.nat(15), record: any.live }),
    fc.record({ kind: fc.constantFrom("up" as const, "remove" as const), row: fc.nat(15) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.nat(59), (steps, growsAt) => {
      const slab = new RecordSlab(16);
      const model = new Map<number, LiveRecord>();
      steps.forEach((one, n) => {
        const known = model.get(one.row);
        if (one.kind === "put") {
          if (known !== undefined) slab.remove(one.row);
          slab.put(one.row, encodeRecord(one.record)!);
          model.set(one.row, one.record);
        } else if (known !== undefined && one.kind === "up") {
          slab.up(one.row);
          model.set(one.row, { ...known, phase: "up" });
        } else if (known !== undefined) {
          slab.remove(one.row);
          model.delete(one.row);
        }
        if (n === growsAt) slab.grow(32);
        for (const [row, record] of model) {
          expect(slab.get(row)).toEqual(record);
          expect(slab.copy(row)).toEqual(encodeRecord(record));
        }
      });
    }),
    { numRuns: 50 },
  );
});
