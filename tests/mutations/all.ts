/**
 * What the tests must notice: each entry takes one protection out of the
 * library, and the test that stands for it has to fail. `deno task mutate`
 * tries them all.
 *
 * The entries are in the text files of this folder. A line `# FILE` names the
 * test file of the entries below it. An entry reads:
 *
 *     what is promised
 *       - FILE: a text that stands in this file once …
 *       + … and what it becomes without the protection, by default nothing
 *       ? a part of the test's name, by default all tests of the test file
 *
 * @module
 */

/** One protection, and how to take it out. */
export interface Mutation {
  promise: string;
  file: string;
  from: string;
  to: string;
  test: string;
  filter: string | undefined;
}

const SECTION = /^# (.+)\n((?:.+\n)+)/gm;
const ENTRY =
  /^(\S.*)\n {2}- (\S+): (.+)\n(?: {2}\+ (.+)\n)?(?: {2}\? (.+)\n)?/gm;

/** Reads the entries of a text file, whose first paragraph tells its subject. */
function parse(text: string): Mutation[] {
  return [...text.matchAll(SECTION)].flatMap(([, test, entries]) => {
    const rest = entries!.replaceAll(ENTRY, "");
    if (rest !== "") {
      throw new SyntaxError(`In the entries of ${test}: ${rest}`);
    }
    return [...entries!.matchAll(ENTRY)].map(
      ([, promise, file, from, to = "", filter]) => (
        { promise: promise!, file: file!, from: from!, to, test: test!, filter }
      ),
    );
  });
}

const folder = new URL("./", import.meta.url);

/** All of them. */
export const MUTATIONS: readonly Mutation[] = [...Deno.readDirSync(folder)]
  .map(({ name }) => name).filter((name) => name.endsWith(".txt")).sort()
  .flatMap((name) => parse(Deno.readTextFileSync(new URL(name, folder))));

/**
 * Where `source` has the text that a mutation takes out. A space stands for any
 * white space, so that an entry has one line wherever the code is broken.
 */
export function placesOf(
  source: string,
  { from }: Mutation,
): RegExpMatchArray[] {
  const words = from.split(" ").map((word) => RegExp.escape(word));
  return [...source.matchAll(new RegExp(words.join("\\s+"), "g"))];
}
