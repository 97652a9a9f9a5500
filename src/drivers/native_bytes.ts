/**
 * Small arrays for the addon. V8 keeps an array of up to 64 bytes inside its heap, and moves it out of there for good, with
 * a buffer object and memory of its own, when native code asks for its address: 0.5 to 1.2 us each. So they are copied to
 * places that never move: the control thread takes about 280 us for a rekey instead of 325.
 */
const SMALL = 64;
const PLACES = 5;

const room = new Uint8Array(PLACES * SMALL);
/** By place, then by length. */
const views = Array.from({ length: PLACES }, (_, place) =>
  Array.from({ length: SMALL + 1 }, (_, length) => room.subarray(place * SMALL, place * SMALL + length)),
);

/** The place for what the addon writes, or `bytes` itself when it is large. */
export const placeFor = (place: number, bytes: Uint8Array): Uint8Array =>
  bytes.length > SMALL ? bytes : views[place][bytes.length];

/** What the addon reads: a copy at a place (0-4, one for each argument of a call), or `bytes` itself when it is large. */
export function placed(place: number, bytes: Uint8Array): Uint8Array {
  if (bytes.length > SMALL) return bytes;
  const view = views[place][bytes.length];
  view.set(bytes);
  return view;
}
