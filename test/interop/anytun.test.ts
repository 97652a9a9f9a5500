/** The matrix of settings against anytun, as packaged by Debian. See `matrix.ts`. */
import { describeMatrix } from "./matrix.ts";

describeMatrix("anytun");
