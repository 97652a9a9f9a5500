/** A lifeline that never has news: for tests of what does not depend on who lives. */
import type { LifelinePort } from "../../src/control/spec/ports.ts";

export const noLifeline: LifelinePort = {
  lease: undefined,
  onEvent: () => {},
  heard: () => {},
  setPeers: () => {},
  agreed: () => {},
  ran() {},
  fenced: () => false,
  status: () => [],
  close: () => {},
};
