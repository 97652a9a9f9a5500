/**
 * Errors that a person will read. `code` is stable and for programs; the message is a sentence that says what is
 * wrong, where, and what to do about it. Never put a secret into it.
 */
export class AnyhopError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AnyhopError";
    this.code = code;
  }
}
