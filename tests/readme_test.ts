/** The pages for people speak of things that are there. */

import { assert, assertEquals } from "@std/assert";
import { read, ROOT } from "./modules.ts";

/** Every file of the repository, as a path from the root. */
function filesIn(folder = ""): string[] {
  return [...Deno.readDirSync(new URL(`./${folder}`, ROOT))]
    .filter(({ name }) => !/^(?:\.git|node_modules|coverage)$/.test(name))
    .flatMap(({ name, isDirectory }) =>
      isDirectory ? filesIn(`${folder}${name}/`) : [`${folder}${name}`]
    );
}

const FILES = filesIn();
const PAGES = FILES.filter((file) => /^(?:docs\/)?[^/]+\.md$/.test(file));

/** The headings of a page, as the part of a link behind `#`. */
function anchorsOf(page: string): string[] {
  return [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!.toLowerCase().replace(/[^\w\s-]/g, "").replace(/\s/g, "-")
  );
}

Deno.test("README shows the small examples word for word", () => {
  const blocks = [...read("README.md").matchAll(/^```ts ignore\n(.*?)^```$/gms)]
    .map(([, block]) => block!);
  assertEquals(blocks.length, 2);
  assertEquals(blocks[0], read("examples/echo.ts"));
  const [client] = /^class HttpGet .*?^}\n/ms
    .exec(read("examples/http_get.ts"))!;
  assertEquals(blocks[1], client);
});

Deno.test("README has fewer than 160 lines", () => {
  assert(read("README.md").trimEnd().split("\n").length < 160);
});

for (const page of PAGES) {
  Deno.test(`${page} links to pages that are there`, () => {
    for (const [, link] of read(page).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
      const { pathname, hash } = new URL(link!, `file:///${page}`);
      const path = pathname.slice(1);
      assert(FILES.includes(path), link);
      if (hash) assert(anchorsOf(path).includes(hash.slice(1)), link);
    }
  });

  Deno.test(`${page} names files and folders that are there`, () => {
    // `core/`, `tests/x_test.ts`, or the bare name of a file in any folder
    const names =
      /(?<=[`\s/])[\w.-]+(?:\/[\w.-]+)*(?:\/(?=[`\s])|\.(?:ts|md|json|svg|yml)\b)/g;
    for (const code of read(page).matchAll(/`([^`\n]+)`/g)) {
      for (const [name] of code[0].matchAll(names)) {
        const isThere = FILES.some((file) =>
          file.startsWith(name) || `/${file}`.endsWith(`/${name}`)
        );
        assert(isThere, name);
      }
    }
  });

  Deno.test(`${page} names tasks that are there`, () => {
    const { tasks } = JSON.parse(read("deno.json"));
    for (
      const [, task] of read(page).matchAll(
        /deno(?:@[\d.]+)? task ([a-z][\w:]*)/g,
      )
    ) {
      assert(task! in tasks, task);
    }
  });
}
