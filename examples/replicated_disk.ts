/**
 * The records of one member of a replicated log, in memory and on its disk.
 *
 * @module
 */

/** Where records are kept: a file, or what a test makes of it. */
export interface Disk {
  /** The records that are there, in order. */
  read(): string[];
  /** Adds records, which a power failure may still take away … */
  write(records: readonly string[]): Promise<void>;
  /** … until this is done. */
  sync(): Promise<void>;
}

/** A list of records that only grows, and how much of it is safe. */
export class Records {
  readonly list: string[];
  /** So many of them outlive a power failure. */
  stored = 0;
  /** Runs when `stored` has grown. */
  onStored: () => void = () => {};
  readonly #disk: Disk;
  #written: number;
  #isStoring = false;
  #storing: Promise<void> = Promise.resolve();

  constructor(disk: Disk) {
    this.#disk = disk;
    this.list = disk.read();
    this.#written = this.list.length;
    this.store(); // records that can be read may not be safe yet
  }

  append(record: string): void {
    this.list.push(record);
    this.store();
  }

  /**
   * Stores all there is. A disk that fails ends the program: nobody knows what
   * it still holds.
   */
  store(): Promise<void> {
    if (!this.#isStoring) this.#storing = this.#storeAll();
    return this.#storing;
  }

  /** As many as possible at a time. */
  async #storeAll(): Promise<void> {
    this.#isStoring = true;
    while (this.stored < this.list.length) {
      const records = this.list.slice(this.#written);
      this.#written += records.length;
      await this.#disk.write(records);
      await this.#disk.sync();
      this.stored = this.#written;
      this.onStored();
    }
    this.#isStoring = false;
  }
}

/** Keeps each record as a line of a file. */
export class FileDisk implements Disk, Disposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;

  constructor(path: string) {
    this.#path = path;
    this.#file = Deno.openSync(path, { create: true, append: true });
  }

  read(): string[] {
    const bytes = Deno.readFileSync(this.#path);
    const end = bytes.lastIndexOf(0x0a) + 1;
    this.#file.truncateSync(end); // a crash may have left half a line
    const text = new TextDecoder().decode(bytes.subarray(0, end));
    return text.split("\n").slice(0, -1);
  }

  async write(records: readonly string[]): Promise<void> {
    const text = records.map((record) => `${record}\n`).join("");
    await Deno.writeTextFile(this.#path, text, { append: true });
  }

  sync(): Promise<void> {
    return this.#file.sync();
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}
