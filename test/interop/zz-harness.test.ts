import { describeMatrix } from "./matrix.ts";

describeMatrix("uanytun", "anytun");
