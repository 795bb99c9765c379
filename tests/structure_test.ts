import { assert, assertEquals, assertGreater } from "@std/assert";
import {
  ENTRIES,
  importsOf,
  modulesFrom,
  pathOf,
  read,
  ROOT,
  withoutComments,
} from "./modules.ts";
import { MUTATIONS, placesOf } from "./mutations/all.ts";

/** The folders whose code the promises about functions hold for. */
const FOLDERS = [
  "",
  "core/",
  "net/",
  "chat/",
  "epoll/",
  "testing/",
  "examples/",
  "ports/",
  "tests/",
  "tests/fuzz/",
  "tests/long/",
  "tests/long/scenarios/",
  "tests/mutations/",
  "tests/soak/",
  "tools/",
  "tools/offline/",
  "tools/test_programs/",
  "bench/",
  "bench/client/",
  "bench/loads/",
  "bench/servers/",
];
const LONGEST_FUNCTION = 60;
const LONGEST_FILE = 700;
const LONGEST_CLASS = 500;
const MOST_FIELDS = 25;

/**
 * Which rooms the modules of a room may import, besides one another. `top` is
 * `dispatcher.ts`, `loop.ts` and `file_dispatcher.ts`; `mod` is the entry.
 */
const ROOMS: Record<string, string[]> = {
  core: [],
  top: ["core"],
  net: ["core", "top"],
  chat: ["core", "top"],
  epoll: ["core", "top", "net"],
  testing: ["core", "top", "net", "chat"],
  mod: ["core", "top", "net", "chat"],
};

/** The TypeScript files of a folder, as paths from the root. */
function filesOf(folder: string): string[] {
  try {
    return [...Deno.readDirSync(new URL(folder, ROOT))]
      .filter(({ isFile, name }) => isFile && name.endsWith(".ts"))
      .map(({ name }) => `${folder}${name}`).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Every program of the repository, in whatever folder, as paths from the root. */
function programsIn(folder = ""): string[] {
  const entries = [...Deno.readDirSync(new URL(`./${folder}`, ROOT))];
  const folders = entries.filter(({ name, isDirectory }) =>
    isDirectory && !/^(?:\..*|node_modules|coverage)$/.test(name)
  );
  const programs = entries.filter(({ name }) => /\.(?:ts|mjs)$/.test(name));
  return [
    ...programs.map(({ name }) => `${folder}${name}`),
    ...folders.flatMap(({ name }) => programsIn(`${folder}${name}/`)),
  ];
}

/**
 * Whether a program makes a path of a file URL by hand. Such a path is
 * percent-encoded, and on Windows it begins with a slash.
 */
function cutsFileUrl(source: string): boolean {
  const code = withoutComments(source);
  const cut = /import\.meta\.url\)?(?:\.href)?\.(?:slice|split|replace|sub)/;
  return cut.test(code) ||
    /\bpathname\b/.test(code) &&
      /import\.meta\.url|new URL\(["`]file:/.test(code);
}

/** A circle among modules, as the path that leads back; empty if there is none. */
function findCircle(graph: Map<string, string[]>): string[] {
  const done = new Set<string>();
  const visit = (module: string, path: string[]): string[] => {
    if (path.includes(module)) {
      return [...path.slice(path.indexOf(module)), module];
    }
    if (done.has(module)) return [];
    done.add(module);
    for (const next of graph.get(module) ?? []) {
      const circle = visit(next, [...path, module]);
      if (circle.length > 0) return circle;
    }
    return [];
  };
  for (const module of graph.keys()) {
    const circle = visit(module, []);
    if (circle.length > 0) return circle;
  }
  return [];
}

interface Span {
  line: number;
  lines: number;
}

/** What opens a block that is no function, or that lies within one. */
const NO_FUNCTION =
  /^(?:export |default |declare |abstract )*(?:class|interface|type|import|for|if|while|switch|try)\b/;

/**
 * Every block that stands alone in formatted code, from the line that opens it
 * to the line of the same indentation that closes it: each function is one.
 */
function blocksOf(source: string): Span[] {
  const lines = source.replace(
    /\/\*[^]*?\*\//g,
    (comment) => comment.replace(/[^\n]/g, ""),
  ).split("\n");
  const indentOf = (line: string) => line.length - line.trimStart().length;
  const blocks: Span[] = [];
  for (const [at, line] of lines.entries()) {
    if (!/[{(]$/.test(line)) continue;
    const indent = indentOf(line);
    const text = line.trim();
    // `): void {` closes a signature that began further up.
    let start = at;
    if (/^[)}\]]/.test(text)) {
      do start--; while (
        start > 0 && (lines[start] === "" || indentOf(lines[start]!) > indent)
      );
    }
    if (NO_FUNCTION.test(lines[start]!.trim())) continue;
    const closes = (candidate: string) =>
      candidate !== "" && indentOf(candidate) <= indent;
    const end = lines.findIndex((candidate, i) => i > at && closes(candidate));
    if (end > 0) blocks.push({ line: start + 1, lines: end - start + 1 });
  }
  return blocks;
}

/** The room of a module, whose path is from the root. */
function roomOf(path: string): string {
  if (path.includes("/")) return path.split("/")[0]!;
  return path === "mod.ts" ? "mod" : "top";
}

/** The imports that lead out of a room in a direction that is not allowed. */
function wrongImports(graph: Map<string, string[]>): string[] {
  return [...graph].flatMap(([path, names]) => {
    const room = roomOf(path);
    const allowed = [room, ...ROOMS[room] ?? []];
    return names.filter((name) => !allowed.includes(roomOf(name)))
      .map((name) => `${path} imports ${name}`);
  });
}

interface ClassSize {
  name: string;
  lines: number;
  fields: number;
}

/** The classes of formatted code, from the line of the name to the last brace. */
function classesOf(source: string): ClassSize[] {
  const classes = source.matchAll(
    /^(?:export )?(?:abstract )?class (\w+)[^]*?^\}$/gm,
  );
  const field =
    /^ {2}(?:(?:static|override|readonly|declare|abstract|protected|private|public) )*#?\w+[!?]?(?::|;| =)/gm;
  return [...classes].map(([text, name]) => ({
    name: name!,
    lines: text.split("\n").length,
    fields: text.match(field)?.length ?? 0,
  }));
}

/** What of a module is too large: the file, or a class of it. */
function tooLargeIn(path: string, source: string): string[] {
  const found = source.trimEnd().split("\n").length > LONGEST_FILE
    ? [path]
    : [];
  for (const { name, lines, fields } of classesOf(source)) {
    if (lines > LONGEST_CLASS) found.push(`${path} ${name}: lines`);
    if (fields > MOST_FIELDS) found.push(`${path} ${name}: fields`);
  }
  return found;
}

const LIBRARY = ["", "core/", "net/", "chat/", "epoll/", "testing/"].flatMap(
  filesOf,
);
/** The one thing that is not the library's own: on whose behalf code runs. */
const ELSEWHERE = new Map([["testing/host_context.ts", "node:async_hooks"]]);

/** The paths from the root that a module imports. */
function pathsFrom(path: string): string[] {
  return importsOf(read(path))
    .filter((name) => name !== ELSEWHERE.get(path))
    .map((name) => name.startsWith(".") ? pathOf(name, path) : name);
}

Deno.test("Library modules import one another in one direction", () => {
  const graph = new Map(LIBRARY.map((path) => [path, pathsFrom(path)]));
  assertGreater([...graph.values()].flat().length, LIBRARY.length);
  assertEquals(findCircle(graph), []);
});

Deno.test("Library modules import nothing but one another", () => {
  for (const path of LIBRARY) {
    for (const name of pathsFrom(path)) {
      assert(LIBRARY.includes(name), `${path} imports ${name}`);
    }
  }
});

Deno.test("Library modules import only the rooms that theirs may", () => {
  const graph = new Map(LIBRARY.map((path) => [path, pathsFrom(path)]));
  assertEquals(new Set(LIBRARY.map(roomOf)), new Set(Object.keys(ROOMS)));
  assertEquals(wrongImports(graph), []);
});

Deno.test(`Library files have at most ${LONGEST_FILE} lines, classes ${LONGEST_CLASS} lines and ${MOST_FIELDS} fields`, () => {
  const sources = LIBRARY.map((path) => [path, read(path)] as const);
  const classes = sources.flatMap(([, source]) => classesOf(source));
  assertGreater(classes.length, 50);
  assertGreater(Math.max(...classes.map(({ fields }) => fields)), 10);
  const found = sources.flatMap(([path, source]) => tooLargeIn(path, source));
  assertEquals(found, []);
});

for (const path of ENTRIES) {
  Deno.test(`Library module ${path} asks for the runtime, and re-exports`, () => {
    const code = withoutComments(read(path)).trimStart();
    const loaded = [...code.matchAll(/^import "([^"]+)";$/gm)]
      .map(([, name]) => pathOf(name!, path));
    // The first touches nothing; the second gives maps their network.
    assertEquals(loaded, ["core/runtime.ts", "net/deno_network.ts"]);
    assert(code.startsWith("import "), "something stands before the runtime");
    assertGreater(importsOf(code).length, loaded.length);
    const rest = code.replace(/^import "[^"]+";$/gm, "")
      .replace(/^export (?:type )?(?:\{[^}]*\}|\*) from "[^"]+";$/gm, "");
    assertEquals(rest.trim(), "");
  });
}

Deno.test("Package holds the library's modules and what a user reads, nothing else", async () => {
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: ["publish", "--dry-run", "--allow-dirty", "--no-check"],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const told = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  assert(success, told.join(""));
  const files = [...told.join("").matchAll(/^ +(file:\S+) \(/gm)];
  const paths = files.map(([, url]) => url!.slice(ROOT.href.length));
  const read = ["CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md"];
  assertEquals(
    paths.sort(),
    [...modulesFrom(...ENTRIES), ...read, "deno.json"].sort(),
  );
});

Deno.test(`Functions have at most ${LONGEST_FUNCTION} lines`, () => {
  const long: string[] = [];
  let blocks = 0;
  for (const path of FOLDERS.flatMap(filesOf)) {
    for (const { line, lines } of blocksOf(read(path))) {
      blocks++;
      if (lines > LONGEST_FUNCTION) long.push(`${path}:${line}: ${lines}`);
    }
  }
  assertGreater(blocks, 500);
  assertEquals(long, []);
});

Deno.test("Snippets decode text that comes in pieces with one decoder", () => {
  const docs = [...Deno.readDirSync(new URL("docs/", ROOT))]
    .map(({ name }) => `docs/${name}`).filter((path) => path.endsWith(".md"));
  const paths = [...LIBRARY, "README.md", ...docs];
  assertGreater(paths.length, 40);
  // A letter whose bytes come in two pieces would be two signs of replacement.
  const piecewise = /\+= new TextDecoder\(/;
  assertEquals(paths.filter((path) => piecewise.test(read(path))), []);
});

Deno.test("Programs take paths from import.meta.dirname and import.meta.filename", () => {
  const programs = programsIn();
  assertGreater(programs.length, 200);
  assertEquals(programs.filter((path) => cutsFileUrl(read(path))), []);
});

Deno.test("Mutations take out a text that stands once, and name a test that is there", () => {
  const stale = MUTATIONS.filter((mutation) =>
    placesOf(read(mutation.file), mutation).length !== 1 ||
    read(mutation.test) === ""
  );
  assertGreater(MUTATIONS.length, 150);
  assertEquals(stale.map(({ file, promise }) => `${file}: ${promise}`), []);
});

// What is checked above must be able to fail.

Deno.test("cutsFileUrl() finds a path made by hand, and no path of a request", () => {
  const part = ["path", "name"].join("");
  const url = ["import", "meta", "url"].join(".");
  for (
    const bad of [
      `new URL("x.ts", ${url}).${part}`,
      `const { ${part}: file } = new URL(${url});`,
      `new URL("file:///x y").${part}`,
      `${url}.replace("file://", "")`,
    ]
  ) assert(cutsFileUrl(bad), bad);
  for (
    const good of [
      `new URL(request.url).${part}`,
      `Deno.readTextFile(new URL("x", ${url}))`,
      "`${import.meta.dirname}/x`",
    ]
  ) assert(!cutsFileUrl(good), good);
});

Deno.test("findCircle() finds a circle that starts elsewhere", () => {
  const graph = (text: string) =>
    new Map(
      text.split(" ").map((edge) => {
        const [from, to = ""] = edge.split(">");
        return [from!, to.split(",").filter(Boolean)];
      }),
    );
  assertEquals(findCircle(graph("a>b,c b>c c>")), []);
  assertEquals(findCircle(graph("a>b b>c,d c> d>b")), ["b", "d", "b"]);
  assertEquals(findCircle(graph("a>a")), ["a", "a"]);
});

Deno.test("wrongImports() finds an import against the direction of the rooms", () => {
  const wrong = (path: string, name: string) =>
    wrongImports(new Map([[path, [name]]])).length;
  for (
    const [path, name] of [
      ["core/a.ts", "loop.ts"],
      ["core/a.ts", "net/b.ts"],
      ["loop.ts", "net/b.ts"],
      ["dispatcher.ts", "mod.ts"],
      ["net/a.ts", "chat/b.ts"],
      ["chat/a.ts", "net/b.ts"],
      ["chat/a.ts", "mod.ts"],
      ["mod.ts", "testing/mod.ts"],
      ["testing/a.ts", "mod.ts"],
      ["net/a.ts", "testing/b.ts"],
      ["new_room/a.ts", "core/b.ts"],
    ] as const
  ) assertEquals(wrong(path, name), 1, `${path} imports ${name}`);
  for (
    const [path, name] of [
      ["core/a.ts", "core/b.ts"],
      ["dispatcher.ts", "loop.ts"],
      ["net/a.ts", "dispatcher.ts"],
      ["testing/a.ts", "net/b.ts"],
      ["mod.ts", "chat/a.ts"],
    ] as const
  ) assertEquals(wrong(path, name), 0, `${path} imports ${name}`);
});

Deno.test("tooLargeIn() finds a long file, a long class and one of many fields", () => {
  const lines = (count: number) => "    work();\n".repeat(count);
  const long = `export class Long {\n  run(): void {\n${lines(498)}  }\n}\n`;
  const fields = [
    "  static readonly a = 1;",
    "  readonly #b: number;",
    "  c!: string;",
    "  override d?: number;",
    "  #e = () => {};",
    "  get f(): number {\n    return 1;\n  }",
    "  async #g(): Promise<void> {\n    const h = 1;\n  }",
    "  /** i: j = k; */",
  ];
  const many = `class Many<T> extends Base {\n${fields.join("\n")}\n` +
    `${fields[1]}\n`.repeat(21) + "}\n";
  assertEquals(classesOf(long), [{ name: "Long", lines: 502, fields: 0 }]);
  assertEquals(classesOf(many)[0]!.fields, 5 + 21);
  assertEquals(tooLargeIn("a.ts", long), ["a.ts Long: lines"]);
  assertEquals(tooLargeIn("a.ts", many), ["a.ts Many: fields"]);
  assertEquals(tooLargeIn("a.ts", lines(LONGEST_FILE)), []);
  assertEquals(tooLargeIn("a.ts", lines(LONGEST_FILE + 1)), ["a.ts"]);
});

Deno.test("importsOf() finds each kind of import", () => {
  const source = [
    'import { a } from "./a.ts";',
    'import {\n  b,\n} from "./b.ts";',
    'export type { C } from "./c.ts";',
    'import "./d.ts";',
    'await import("./e.ts");',
    '/** import { x } from "./x.ts"; */',
    '// import { y } from "./y.ts";',
  ].join("\n");
  assertEquals(importsOf(source), [
    "./a.ts",
    "./b.ts",
    "./c.ts",
    "./d.ts",
    "./e.ts",
  ]);
});

Deno.test("blocksOf() measures functions, methods and callbacks, not classes", () => {
  const body = (count: number) => Array(count).fill("    work();").join("\n");
  const source = [
    `class Long {\n  method(): void {\n${body(3)}\n  }\n}`,
    `function signature(\n  a: number,\n): void {\n${body(3)}\n}`,
    `const arrow = () => {\n${body(4)}\n};`,
    `Deno.test("callback", () => {\n${body(5)}\n});`,
  ].join("\n");
  assertEquals(
    blocksOf(source).map(({ lines }) => lines).sort(),
    [
      3, // The parameters of signature().
      5,
      6,
      7,
      7,
    ].sort(),
  );
});
