/**
 * What the tests must notice.
 *
 * @module
 */

/** One protection, and how to take it out. */
export interface Mutation {
  /** What is promised. */
  promise: string;
  /** The file that keeps the promise. */
  file: string;
  /** A text that stands in the file once … */
  from: string;
  /** … and what it becomes without the protection. */
  to: string;
  /** The test file that notices. */
  test: string;
  /** A part of the test's name; by default all tests of the file are run. */
  filter?: string;
}
