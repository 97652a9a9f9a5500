// `node scripts/count_tests.mjs REPORT STATUS`: prints "passed failed skipped" for the gate, from vitest's JSON report.
// A test file that did not load, an error outside every test and a run without a single test each count as a failure.
import { readFileSync } from "node:fs";

const [path, status] = process.argv.slice(2);
let report;
try {
  report = JSON.parse(readFileSync(path, "utf8"));
} catch (error) {
  console.error(`the test run left no readable report: ${error.message}`);
  process.exit(1);
}
const passed = report.numPassedTests;
const skipped = report.numPendingTests + report.numTodoTests;
let failed = report.numFailedTests;
for (const file of report.testResults) {
  const blamed = file.assertionResults.some((test) => test.status === "failed");
  if (file.status === "failed" && !blamed) failed += 1;
}
if (failed === 0 && (status !== "0" || report.success !== true || passed === 0)) failed = 1;
console.log(`${passed} ${failed} ${skipped}`);
