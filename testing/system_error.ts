/**
 * The errors of a file system: {@linkcode systemError}.
 *
 * @module
 */

/** The number and the words of each error on Linux, and its class in Deno. */
const ERRORS = {
  EIO: [Error, 5, "Input/output error"],
  ENOENT: [Deno.errors.NotFound, 2, "No such file or directory"],
  EPERM: [Deno.errors.PermissionDenied, 1, "Operation not permitted"],
  EBADF: [Error, 9, "Bad file descriptor"],
  EEXIST: [Deno.errors.AlreadyExists, 17, "File exists"],
  ENOTDIR: [Deno.errors.NotADirectory, 20, "Not a directory"],
  EISDIR: [Deno.errors.IsADirectory, 21, "Is a directory"],
  EINVAL: [TypeError, 22, "Invalid argument"],
  ENOSPC: [Error, 28, "No space left on device"],
  ENOTEMPTY: [Error, 39, "Directory not empty"],
} as const;

/** The name of an error of the system. */
export type ErrorCode = keyof typeof ERRORS;

/**
 * Makes an error as Deno makes it.
 *
 * @param code The name of the error.
 * @param call What failed: `open '/log'`.
 */
export function systemError(code: ErrorCode, call: string = ""): Error {
  const [ErrorClass, number, words] = ERRORS[code];
  const where = call === "" ? "" : `: ${call}`;
  const error = new ErrorClass(`${words} (os error ${number})${where}`);
  return Object.assign(error, { code });
}
