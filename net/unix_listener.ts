/**
 * Listeners on Unix sockets that leave their successor's path alone.
 *
 * Deno removes the path of a Unix listener when it lets go of the socket: at
 * `close()`, or one turn later where an accept was in flight. It does not look
 * whose socket the path names by then: a program that has taken the path over
 * could not be reached any more. So a successor's socket gets a second name for
 * that moment, and its path back afterwards.
 *
 * @module
 */

/** Which file a path names. */
interface Identity {
  dev: number;
  ino: number | null;
}

/** The paths of listeners that are closed, and that Deno still holds. */
const leaving = new Set<Ownership>();

/**
 * Listens on `path`, with a listener of Deno's.
 *
 * @throws {Deno.errors.AddrInUse} If there is a file already.
 * @throws {Error} What else the system says.
 */
export function listenUnix(path: string): Deno.UnixListener {
  const listener = bind(path);
  for (const former of leaving) former.spare();
  const ownership = new Ownership(path);
  const { accept, close } = listener;
  let isAccepting = false;
  let isClosed = false;
  listener.accept = async () => {
    isAccepting = true;
    try {
      return await accept.call(listener);
    } finally {
      isAccepting = false;
      if (isClosed) ownership.end();
    }
  };
  listener.close = () => {
    if (!isClosed) ownership.leave();
    isClosed = true;
    close.call(listener);
    if (!isAccepting) ownership.end();
  };
  return listener;
}

function bind(path: string): Deno.UnixListener {
  try {
    return Deno.listen({ transport: "unix", path });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      error.message += ": the file is there. Remove it if nobody listens on it";
    }
    throw error;
  }
}

/** Keeps the path for the listener that took it over, when Deno removes it. */
class Ownership {
  readonly #path: string;
  readonly #own: Identity | null;
  /** Another name of the successor's socket. */
  #second: string | null = null;
  #successor: Identity | null = null;

  constructor(path: string) {
    this.#path = path;
    this.#own = identify(path);
  }

  /** Deno is about to remove the path. */
  leave(): void {
    // This listener needs the second name of its socket no longer.
    for (const former of leaving) {
      if (isSame(former.#successor, this.#own)) former.#forget();
    }
    this.spare();
    leaving.add(this);
  }

  /** Gives the socket of a successor a second name, if the path names one. */
  spare(): void {
    const file = identify(this.#path);
    if (!file || !this.#own || isSame(file, this.#own)) return;
    if (isSame(file, this.#successor)) return;
    this.#forget();
    this.#second = addName(this.#path);
    this.#successor = file;
  }

  #forget(): void {
    if (this.#second !== null) removeQuietly(this.#second);
    this.#second = this.#successor = null;
  }

  /** Deno has removed the path: a successor gets it back. */
  end(): void {
    leaving.delete(this);
    if (this.#second === null) return;
    try {
      Deno.linkSync(this.#second, this.#path);
    } catch {
      // The path is there: Deno has left it, or another program has taken it.
    }
    this.#forget();
  }
}

function identify(path: string): Identity | null {
  try {
    return Deno.lstatSync(path);
  } catch {
    return null;
  }
}

function isSame(one: Identity | null, other: Identity | null): boolean {
  return one !== null && other !== null && one.dev === other.dev &&
    one.ino === other.ino;
}

/** Gives a file a second name, or `null` where that may not be done. */
function addName(path: string): string | null {
  const second = `${path}.${crypto.randomUUID()}`;
  const isAllowed = (name: "read" | "write") =>
    Deno.permissions.querySync({ name, path: second }).state === "granted";
  if (!isAllowed("read") || !isAllowed("write")) return null;
  try {
    Deno.linkSync(path, second);
    return second;
  } catch {
    return null; // Not every file system can.
  }
}

function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // It is gone.
  }
}
