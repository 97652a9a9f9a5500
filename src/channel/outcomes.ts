/** Every end that a control message inside a session can have, with its help text: `/v1/counters` shows them as `control_*`. */
export interface ControlOutcome {
  /** Whether it did what it was for. */
  readonly done: boolean;
  readonly help: string;
}

const done = (help: string): ControlOutcome => ({ done: true, help });
const refused = (help: string): ControlOutcome => ({ done: false, help });

export const controlOutcomes = {
  unnumbered: done("Messages of kinds that are not numbered: pings, closes, acknowledged senders, probes."),
  page: done("Pages of numbered messages that were taken."),
  acknowledged: done("Acknowledgements of pages."),
  delivered: done("Numbered messages that came whole, each once."),
  sent: done("Numbered messages that the other end has acknowledged as whole."),
  relayed: done("Pages and acknowledgements passed on to the node of the group that they were meant for."),
  repeated: done("Pages that had come already: an acknowledgement was lost, or is slow."),
  kind_unknown: refused("Messages of kinds that this version does not know, or that do not fit their kind; ignored."),
  message_unknown: refused("Numbered messages of kinds that this end does not take; acknowledged and ignored."),
  malformed: refused("Pages and acknowledgements that no sender makes."),
  ahead: refused("Pages of messages that are not expected yet."),
  contradicts: refused("Pages that say something else of their message than the first ones."),
  ack_unsent: refused("Acknowledgements of what was never sent."),
  timed_out: refused(
    "Messages that were thrown away unfinished, because no page came for long; the other end may begin anew.",
  ),
  memory_full: refused("Pages that found no room: too many messages are unfinished at once."),
  queue_full: refused("Messages that were not sent, because too many wait for the same session."),
  channel_unknown: refused("Pages and acknowledgements for a node, or a start of one, that is not there."),
} as const satisfies Record<string, ControlOutcome>;

export type ControlOutcomeName = keyof typeof controlOutcomes;

export class ControlCounters {
  readonly #counts = new Map<ControlOutcomeName, number>();

  add(name: ControlOutcomeName): void {
    this.#counts.set(name, this.get(name) + 1);
  }

  get(name: ControlOutcomeName): number {
    return this.#counts.get(name) ?? 0;
  }
}
