import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Tests that load the addon must not share a process: its slab and key slots belong to one environment.
    pool: "forks",
    fileParallelism: true,
    maxWorkers: 2,
    // Long: a machine that is busy with something else makes a test late, not wrong.
    testTimeout: 120_000,
    hookTimeout: 180_000,
  },
});
