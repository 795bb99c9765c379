/** The modules of the repository, and what imports what. */

import { posix } from "node:path";

export const ROOT = new URL("../", import.meta.url);

/** The text of a file, whose path is from the root. */
export function read(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

/** Source without its comments; good enough for code that is formatted. */
export function withoutComments(source: string): string {
  return source.replace(/\/\*[^]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

/** What a module imports and re-exports, types too. */
export function importsOf(source: string): string[] {
  const code = withoutComments(source);
  const statements = code.matchAll(
    /^(?:import|export)\b[^;]*?\bfrom\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\(\s*"([^"]+)"/gm,
  );
  return [...statements].map((match) => match[1] ?? match[2] ?? match[3]!);
}

/** What `name` means in the module of that path, as a path from the root. */
export function pathOf(name: string, path: string): string {
  return posix.join(posix.dirname(path), name);
}

/** These modules and all that they import, as paths from the root. */
export function modulesFrom(...paths: string[]): string[] {
  const found = new Set<string>();
  const visit = (path: string): void => {
    if (found.has(path)) return;
    found.add(path);
    for (const name of importsOf(read(path))) {
      if (name.startsWith(".")) visit(pathOf(name, path));
    }
  };
  for (const path of paths) visit(path);
  return [...found].sort();
}

/** The modules that a program imports by the library's names. */
export const ENTRIES: string[] = Object.values(
  (JSON.parse(read("deno.json")) as { exports: Record<string, string> })
    .exports,
).map((entry) => pathOf(entry, ""));
