/**
 * A path-compressed trie of 4 bits a step over 128-bit keys: the machine inside `lpm.ts`, which uses one per family
 * (IPv4 keys stand in the first word). Never sees prefix lengths or values that `lpm.ts` has not checked.
 */
import { mask } from "../base/prefix.ts";

const STRIDE = 4;

// A node at depth d holds prefixes of lengths d + 1 to d + 4 itself and hangs longer ones below; lengths up to d belong
// to nodes above. Its own prefixes are numbered like a heap: 1 is the node, 2 and 3 its two halves, 16-31 single slots.
const DEPTH = 0;
/** Bit h: prefix h is there. */
const OWN = 1;
/** Four words; bits from the depth on are zero. */
const KEY = 2;
/** 16 references: 0 = nothing, > 0 a node (deeper than d + 4 where the path has no branch), < 0 a leaf. */
const CHILD = 6;
/** Values by heap number; numbers 0 and 1 do not exist. */
const VALUE = 20;
const NODE_INTS = VALUE + 32;

// A leaf is a prefix that is alone in its slot: no node, a quarter of the memory. Words 0-3 are the key.
const LEAF_LENGTH = 4;
const LEAF_VALUE = 5;
const LEAF_INTS = 6;

/** By slot: the heap numbers of all prefixes of one node that contain it. */
const HEAP_BITS = Int32Array.from(
  { length: 16 },
  (_, slot) => (1 << (16 + slot)) | (1 << (8 + (slot >> 1))) | (1 << (4 + (slot >> 2))) | (1 << (2 + (slot >> 3))),
);

export class Trie {
  size = 0;
  private nodes: Int32Array;
  private leaves: Int32Array;
  /** First unused int of each pool, and first of the freed records (linked through their first int). */
  private nodesUsed = NODE_INTS;
  private leavesUsed = 0;
  private freeNode = 0;
  private freeLeaf = -1;
  /** Value of the prefix of length 0, -1 = none. */
  private all = -1;
  private readonly initialNodes: number;

  constructor(initialNodes: number) {
    this.initialNodes = initialNodes;
    // Node 0 is the root, depth 0: never a child, so reference 0 can mean nothing.
    this.nodes = new Int32Array(initialNodes * NODE_INTS);
    this.leaves = new Int32Array(initialNodes * LEAF_INTS);
  }

  get bytes(): number {
    return this.nodes.byteLength + this.leaves.byteLength;
  }

  clear(): void {
    this.size = 0;
    this.nodes = new Int32Array(this.initialNodes * NODE_INTS);
    this.leaves = new Int32Array(this.initialNodes * LEAF_INTS);
    this.nodesUsed = NODE_INTS;
    this.leavesUsed = 0;
    this.freeNode = 0;
    this.freeLeaf = -1;
    this.all = -1;
  }

  /** Value of the longest prefix of the key, or -1. Words are int32. */
  lookup(w0: number, w1: number, w2: number, w3: number): number {
    const nodes = this.nodes;
    let best = this.all;
    let node = 0;
    let depth = 0;
    for (;;) {
      const word = depth < 64 ? (depth < 32 ? w0 : w1) : depth < 96 ? w2 : w3;
      const slot = (word >>> (28 - (depth & 31))) & 15;
      const own = nodes[node + OWN] & HEAP_BITS[slot];
      if (own !== 0) best = nodes[node + VALUE + 31 - Math.clz32(own)];
      const child = nodes[node + CHILD + slot];
      if (child <= 0) {
        if (child === 0) return best;
        const leaves = this.leaves;
        const leaf = ~child;
        return inside(leaves, leaf, leaves[leaf + LEAF_LENGTH], w0, w1, w2, w3) ? leaves[leaf + LEAF_VALUE] : best;
      }
      node = child;
      depth = nodes[node + DEPTH];
      if (!inside(nodes, node + KEY, depth, w0, w1, w2, w3)) return best;
    }
  }

  /** Adds or replaces a prefix. */
  insert(h0: number, h1: number, h2: number, h3: number, length: number, value: number): void {
    const w0 = h0 & mask(length, 0);
    const w1 = h1 & mask(length, 1);
    const w2 = h2 & mask(length, 2);
    const w3 = h3 & mask(length, 3);
    if (length === 0) {
      if (this.all < 0) this.size++;
      this.all = value;
      return;
    }
    let node = 0;
    for (;;) {
      const depth = this.nodes[node + DEPTH];
      if (length <= depth + STRIDE) {
        const heap = heapNumber(nibble(w0, w1, w2, w3, depth), length - depth);
        if ((this.nodes[node + OWN] & (1 << heap)) === 0) this.size++;
        this.nodes[node + OWN] |= 1 << heap;
        this.nodes[node + VALUE + heap] = value;
        return;
      }
      const link = node + CHILD + nibble(w0, w1, w2, w3, depth);
      const child = this.nodes[link];
      if (child === 0) {
        const leaf = this.newLeaf(w0, w1, w2, w3, length, value);
        this.nodes[link] = ~leaf;
        this.size++;
        return;
      }
      node =
        child < 0 ? this.passLeaf(link, w0, w1, w2, w3, length, value) : this.passNode(link, w0, w1, w2, w3, length);
      if (node < 0) return;
    }
  }

  /** A leaf is in the way: replaces its value (returns -1), or puts a node there that holds it (returns the node). */
  private passLeaf(
    link: number,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    length: number,
    value: number,
  ): number {
    const leaf = ~this.nodes[link];
    const leafLength = this.leaves[leaf + LEAF_LENGTH];
    const common = commonBits(this.leaves, leaf, w0, w1, w2, w3);
    if (length === leafLength && common >= length) {
      this.leaves[leaf + LEAF_VALUE] = value;
      return -1;
    }
    const depth = Math.min(common, length - 1, leafLength - 1) & -STRIDE;
    const node = this.newNode(w0, w1, w2, w3, depth);
    const slot = nibbleAt(this.leaves, leaf, depth);
    if (leafLength <= depth + STRIDE) {
      const heap = heapNumber(slot, leafLength - depth);
      this.nodes[node + OWN] = 1 << heap;
      this.nodes[node + VALUE + heap] = this.leaves[leaf + LEAF_VALUE];
      this.dropLeaf(leaf);
    } else {
      this.nodes[node + CHILD + slot] = ~leaf;
    }
    this.nodes[link] = node;
    return node;
  }

  /** The node below `link` when the prefix belongs into it, else a new node between that leads to it. */
  private passNode(link: number, w0: number, w1: number, w2: number, w3: number, length: number): number {
    const child = this.nodes[link];
    const childDepth = this.nodes[child + DEPTH];
    const common = commonBits(this.nodes, child + KEY, w0, w1, w2, w3);
    if (common >= childDepth && length > childDepth) return child;
    const depth = Math.min(common, length - 1) & -STRIDE;
    const node = this.newNode(w0, w1, w2, w3, depth);
    this.nodes[node + CHILD + nibbleAt(this.nodes, child + KEY, depth)] = child;
    this.nodes[link] = node;
    return node;
  }

  /** Takes a prefix away, with `value` >= 0 only when it has that value. False when it is not there. */
  remove(h0: number, h1: number, h2: number, h3: number, length: number, value: number): boolean {
    const w0 = h0 & mask(length, 0);
    const w1 = h1 & mask(length, 1);
    const w2 = h2 & mask(length, 2);
    const w3 = h3 & mask(length, 3);
    if (length === 0) {
      if (this.all < 0 || (value >= 0 && this.all !== value)) return false;
      this.all = -1;
      this.size--;
      return true;
    }
    const nodes = this.nodes;
    let node = 0;
    /** Where the reference to `node` stands. */
    let above = -1;
    for (;;) {
      const depth = nodes[node + DEPTH];
      const slot = nibble(w0, w1, w2, w3, depth);
      if (length <= depth + STRIDE) {
        const heap = heapNumber(slot, length - depth);
        const bit = 1 << heap;
        if ((nodes[node + OWN] & bit) === 0 || (value >= 0 && nodes[node + VALUE + heap] !== value)) return false;
        nodes[node + OWN] &= ~bit;
        break;
      }
      const link = node + CHILD + slot;
      const child = nodes[link];
      if (child === 0) return false;
      if (child < 0) {
        const leaf = ~child;
        if (this.leaves[leaf + LEAF_LENGTH] !== length) return false;
        if (commonBits(this.leaves, leaf, w0, w1, w2, w3) < length) return false;
        if (value >= 0 && this.leaves[leaf + LEAF_VALUE] !== value) return false;
        nodes[link] = 0;
        this.dropLeaf(leaf);
        break;
      }
      const childDepth = nodes[child + DEPTH];
      if (length <= childDepth || commonBits(nodes, child + KEY, w0, w1, w2, w3) < childDepth) return false;
      above = link;
      node = child;
    }
    this.size--;
    if (above >= 0) this.shrink(node, above);
    return true;
  }

  /**
   * A node other than the root holds at least two things, its own prefixes and children together. After a removal one
   * may be left: it takes the node's place, so the trie never remembers what was withdrawn.
   */
  private shrink(node: number, above: number): void {
    const nodes = this.nodes;
    let only = 0;
    let children = 0;
    for (let slot = 0; slot < 16; slot++) {
      const child = nodes[node + CHILD + slot];
      if (child === 0) continue;
      only = child;
      children++;
    }
    const own = nodes[node + OWN];
    if (own === 0 && children === 1) {
      nodes[above] = only;
    } else if (children === 0 && (own & (own - 1)) === 0) {
      const heap = 31 - Math.clz32(own);
      const bits = 31 - Math.clz32(heap);
      const depth = nodes[node + DEPTH];
      // The prefix's bits within the node, at the left of the nibble that begins at `depth`.
      const tail = ((heap << (STRIDE - bits)) & 15) << (28 - (depth & 31));
      const key = node + KEY;
      const w = depth >>> 5;
      const leaf = this.newLeaf(
        nodes[key] | (w === 0 ? tail : 0),
        nodes[key + 1] | (w === 1 ? tail : 0),
        nodes[key + 2] | (w === 2 ? tail : 0),
        nodes[key + 3] | (w === 3 ? tail : 0),
        depth + bits,
        nodes[node + VALUE + heap],
      );
      nodes[above] = ~leaf;
    } else {
      return;
    }
    nodes[node] = this.freeNode;
    this.freeNode = node;
  }

  private newNode(w0: number, w1: number, w2: number, w3: number, depth: number): number {
    let node = this.freeNode;
    if (node > 0) {
      this.freeNode = this.nodes[node];
      this.nodes.fill(0, node, node + NODE_INTS);
    } else {
      node = this.nodesUsed;
      this.nodesUsed += NODE_INTS;
      if (this.nodesUsed > this.nodes.length) this.nodes = doubled(this.nodes, NODE_INTS);
    }
    const { nodes } = this;
    nodes[node + DEPTH] = depth;
    nodes[node + KEY] = w0 & mask(depth, 0);
    nodes[node + KEY + 1] = w1 & mask(depth, 1);
    nodes[node + KEY + 2] = w2 & mask(depth, 2);
    nodes[node + KEY + 3] = w3 & mask(depth, 3);
    return node;
  }

  private newLeaf(w0: number, w1: number, w2: number, w3: number, length: number, value: number): number {
    let leaf = this.freeLeaf;
    if (leaf >= 0) {
      this.freeLeaf = this.leaves[leaf];
    } else {
      leaf = this.leavesUsed;
      this.leavesUsed += LEAF_INTS;
      if (this.leavesUsed > this.leaves.length) this.leaves = doubled(this.leaves, LEAF_INTS);
    }
    const { leaves } = this;
    leaves[leaf] = w0;
    leaves[leaf + 1] = w1;
    leaves[leaf + 2] = w2;
    leaves[leaf + 3] = w3;
    leaves[leaf + LEAF_LENGTH] = length;
    leaves[leaf + LEAF_VALUE] = value;
    return leaf;
  }

  private dropLeaf(leaf: number): void {
    this.leaves[leaf] = this.freeLeaf;
    this.freeLeaf = leaf;
  }
}

function doubled(old: Int32Array, least: number): Int32Array {
  const bigger = new Int32Array(Math.max(2 * old.length, old.length + least));
  bigger.set(old);
  return bigger;
}

/** True when the first `length` (1-128) bits of the key at `key` are those of the words. */
function inside(
  pool: Int32Array,
  key: number,
  length: number,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
): boolean {
  // Shift counts are taken modulo 32, so a multiple of 32 compares the whole last word.
  if (length <= 32) return (w0 ^ pool[key]) >>> (32 - length) === 0;
  if (w0 !== pool[key]) return false;
  if (length <= 64) return (w1 ^ pool[key + 1]) >>> (64 - length) === 0;
  if (w1 !== pool[key + 1]) return false;
  if (length <= 96) return (w2 ^ pool[key + 2]) >>> (96 - length) === 0;
  return w2 === pool[key + 2] && (w3 ^ pool[key + 3]) >>> (128 - length) === 0;
}

/** Leading bits that the words and the key at `key` have in common, 0-128. */
function commonBits(pool: Int32Array, key: number, w0: number, w1: number, w2: number, w3: number): number {
  if (w0 !== pool[key]) return Math.clz32(w0 ^ pool[key]);
  if (w1 !== pool[key + 1]) return 32 + Math.clz32(w1 ^ pool[key + 1]);
  if (w2 !== pool[key + 2]) return 64 + Math.clz32(w2 ^ pool[key + 2]);
  return 96 + Math.clz32(w3 ^ pool[key + 3]);
}

/** The four bits of the words from bit `depth` on; `depth` is a multiple of 4. */
function nibble(w0: number, w1: number, w2: number, w3: number, depth: number): number {
  const word = depth < 64 ? (depth < 32 ? w0 : w1) : depth < 96 ? w2 : w3;
  return (word >>> (28 - (depth & 31))) & 15;
}

function nibbleAt(pool: Int32Array, key: number, depth: number): number {
  return (pool[key + (depth >>> 5)] >>> (28 - (depth & 31))) & 15;
}

/** Number of the prefix of `bits` (1-4) bits that contains the slot. */
function heapNumber(slot: number, bits: number): number {
  return (1 << bits) | (slot >> (STRIDE - bits));
}
