/** The matrix of settings against uanytun, as packaged by Debian. See `matrix.ts`. */
import { describeMatrix } from "./matrix.ts";

describeMatrix("uanytun");
