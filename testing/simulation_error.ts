/**
 * How a simulation fails: {@linkcode SimulationError}.
 *
 * @module
 */

/** A simulation went wrong; {@linkcode SimulationError.trace} tells how. */
export class SimulationError extends Error {
  /** The name of this class of errors: `"SimulationError"`. */
  override name = "SimulationError";
  /** Where the random numbers of the run began. */
  readonly seed: number;
  readonly #trace: () => string;

  /**
   * Makes the error of one run.
   *
   * @param message What went wrong.
   * @param seed Where the random numbers of the run began.
   * @param trace Tells all that happened until then.
   * @param cause The error behind it, if there is one.
   */
  constructor(
    message: string,
    seed: number,
    trace: () => string,
    cause?: unknown,
  ) {
    super(message, { cause });
    this.seed = seed;
    this.#trace = trace;
  }

  /** All that happened until then, a line for each event. */
  get trace(): string {
    return this.#trace();
  }
}
