/**
 * The files below a root directory, by the targets of HTTP requests. Nothing
 * outside the root can be opened, however its name is spelled.
 *
 * @module
 */

import type { FileSource, OpenFile } from "./http_connection.ts";
import { HttpError } from "./http_request.ts";

const TYPES = new Map(Object.entries({
  css: "text/css; charset=utf-8",
  csv: "text/csv; charset=utf-8",
  gif: "image/gif",
  htm: "text/html; charset=utf-8",
  html: "text/html; charset=utf-8",
  ico: "image/vnd.microsoft.icon",
  jpeg: "image/jpeg",
  jpg: "image/jpeg",
  js: "text/javascript; charset=utf-8",
  json: "application/json",
  md: "text/markdown; charset=utf-8",
  mjs: "text/javascript; charset=utf-8",
  mp3: "audio/mpeg",
  mp4: "video/mp4",
  pdf: "application/pdf",
  png: "image/png",
  svg: "image/svg+xml",
  txt: "text/plain; charset=utf-8",
  wasm: "application/wasm",
  webm: "video/webm",
  webp: "image/webp",
  woff2: "font/woff2",
  xml: "application/xml",
  zip: "application/zip",
}));

/** The media type that a file's name promises. */
export function typeOf(path: string): string {
  const extension = /\.([^./]+)$/.exec(path)?.[1]?.toLowerCase() ?? "";
  return TYPES.get(extension) ?? "application/octet-stream";
}

const isWindows = Deno.build.os === "windows";
/** Names that begin with a dot are private, apart from this one (RFC 8615). */
const PUBLIC_NAME = ".well-known";
/** Characters that no name may contain; on Windows, many have a meaning. */
// deno-lint-ignore no-control-regex
const NO_NAME = isWindows ? /[\x00-\x1f"*/:<>?\\|~]|[ .]$/ : /[\0/\\]/;

/**
 * The path that a request's target names, relative to the root: `a/b.txt`, or
 * `a/` for a directory.
 *
 * @throws {HttpError} 400, if the target is malformed; 404, if no file can have
 * the name, or a part of it begins with a dot, as `..` and `.git` do, and is not
 * `.well-known`.
 */
export function pathOf(target: string): string {
  // A proxy's form: http://host/path
  const local = target.replace(/^https?:\/\/[^/?#]+(?=[/?]|$)/i, "");
  const [path = ""] = local.split("?");
  if (path.includes("#")) throw new HttpError(400);
  if (path === "" && local !== target) return "";
  if (!path.startsWith("/")) throw new HttpError(400);
  const names = path.slice(1).split("/").map(decode);
  for (const [at, name] of names.entries()) {
    const isLast = at === names.length - 1;
    const isHidden = name.startsWith(".") && name !== PUBLIC_NAME;
    if ((name === "" && !isLast) || isHidden || NO_NAME.test(name)) {
      throw new HttpError(404);
    }
  }
  return names.join("/");
}

function decode(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    throw new HttpError(400);
  }
}

/** Opens the files below a root directory. */
export class StaticFiles implements FileSource {
  /** The root as it was given: the permission may hold for this name only. */
  readonly #root: string;
  /** Its real path. */
  readonly #prefix: string;

  /**
   * Takes a directory.
   *
   * @throws {Deno.errors.NotFound | Deno.errors.NotADirectory} If it is none.
   */
  constructor(root: string) {
    if (!Deno.statSync(root).isDirectory) {
      throw new Deno.errors.NotADirectory("It is not a directory");
    }
    this.#root = root;
    this.#prefix = withSlash(Deno.realPathSync(root));
  }

  /**
   * Opens the file that a request's target names; of a directory, `index.html`.
   *
   * @throws {HttpError} If there is no such file, or it cannot be sent.
   */
  async open(target: string): Promise<OpenFile> {
    const path = pathOf(target);
    try {
      return await this.#open(path, target);
    } catch (error) {
      throw error instanceof HttpError ? error : new HttpError(statusOf(error));
    }
  }

  async #open(path: string, target: string): Promise<OpenFile> {
    const isFolder = path === "" || path.endsWith("/");
    const wanted = isFolder ? `${path}index.html` : path;
    const real = await this.#resolve(wanted);
    const { isFile, isDirectory, size, mtime } = await Deno.stat(real);
    if (isDirectory && !isFolder) {
      throw new HttpError(301, { "Location": slashed(target) });
    }
    // Opening a pipe would wait for somebody to write to it.
    if (!isFile) throw new HttpError(404);
    const file = await Deno.open(real);
    return {
      file,
      size,
      changed: mtime?.getTime() ?? 0,
      type: typeOf(wanted),
      [Symbol.dispose]: () => file.close(),
    };
  }

  /**
   * Follows links. A permission to read the root does not keep them inside.
   *
   * @throws {HttpError} 404, if they lead out of the root.
   */
  async #resolve(path: string): Promise<string> {
    const real = await Deno.realPath(`${this.#root}/${path}`);
    if (!withSlash(real).startsWith(this.#prefix)) throw new HttpError(404);
    return `${this.#root}/${real.slice(this.#prefix.length)}`;
  }
}

function withSlash(path: string): string {
  const slash = isWindows ? "\\" : "/";
  return path.endsWith(slash) ? path : path + slash;
}

/** Links in a page of a directory start from its name with a slash. */
function slashed(target: string): string {
  return target.replace(/(?=\?|$)/, "/");
}

/** The answer when the system does not give a file. */
function statusOf(error: unknown): number {
  const { code } = error as { code?: unknown };
  if (["ENOENT", "ENOTDIR", "ENAMETOOLONG", "ELOOP"].includes(`${code}`)) {
    return 404;
  }
  const isForbidden = error instanceof Deno.errors.PermissionDenied ||
    error instanceof Deno.errors.NotCapable;
  return isForbidden ? 403 : 500;
}
