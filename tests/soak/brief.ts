/**
 * A brief soak as a test, so that `deno task mutate` can take a protection out
 * and see that it is noticed. `deno task test` does not run it.
 */

import { runCommand } from "../peers.ts";

Deno.test("a brief soak finds nothing wrong", async () => {
  const soak = `${import.meta.dirname}/../soak.ts`;
  const minutes = "0.35"; // Long enough for a few hundred connections.
  const args = ["run", "-A", "--no-check", soak, minutes];
  const { code, out, err } = await runCommand(Deno.execPath(), args);
  if (code !== 0) throw new Error(out + err);
});
