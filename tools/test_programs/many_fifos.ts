/**
 * Opens 40 FIFOs in which nothing comes, as dispatchers, and tells what else
 * still works. A test runs it in a process of its own: the threads that wait
 * for a FIFO stay until it ends.
 *
 *     deno run -A tools/test_programs/many_fifos.ts FOLDER
 */

import { FileDispatcher, loop, SocketMap } from "../../mod.ts";

const COUNT = 40;
const [folder] = Deno.args;

/** Reads, and says so. */
class Reader extends FileDispatcher {
  text = "";
  override handleRead(): void {
    this.text += new TextDecoder().decode(this.recv());
  }
}

/** What `work` gives, or `late`. */
async function soon<T>(work: Promise<T>): Promise<T | "late"> {
  let id: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<"late">((resolve) => {
    id = setTimeout(() => resolve("late"), 5_000);
  });
  const result = await Promise.race([work, late]);
  clearTimeout(id);
  return result;
}

const map = new SocketMap();
const paths = Array.from({ length: COUNT }, (_, i) => `${folder}/${i}`);
await new Deno.Command("mkfifo", { args: paths }).output();
// Open for writing as well, so that neither the open nor a read sees an end.
const both = { read: true, write: true };
const fifos = paths.map((path) =>
  new Reader(Deno.openSync(path, both), { map })
);
await loop({ map, count: 5, timeout: 20 });

const path = `${folder}/regular`;
await Deno.writeTextFile(path, "spam");
const plain = new Reader(await Deno.open(path), { map: new SocketMap() });
await soon(loop({ map: plain.map }));
console.log("a file:", plain.text);
const found = Deno.connect({ hostname: "localhost", port: 1 });
console.log("a name:", await soon(found.catch(() => "looked up")));

for (const path of [paths[0]!, paths[39]!]) {
  Deno.writeTextFileSync(path, "eggs");
}
const deadline = performance.now() + 5_000;
while (fifos[0]!.text === "" && performance.now() < deadline) {
  await loop({ map, count: 1, timeout: 20 });
}
console.log("the first:", fifos[0]!.text);
console.log("the last:", fifos[39]!.text);
// Each that is read makes room for one that waits.
for (const path of paths.slice(1, 20)) Deno.writeTextFileSync(path, "ham");
while (fifos[39]!.text === "" && performance.now() < deadline) {
  await loop({ map, count: 1, timeout: 20 });
}
console.log("the last, now:", fifos[39]!.text);
Deno.exit();
