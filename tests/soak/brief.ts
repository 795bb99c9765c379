/**
 * A brief soak as a test, so that `deno task mutate` can take a protection out
 * and see that it is noticed. `deno task test` does not run it.
 */

/** Long enough for a few hundred connections, in minutes. */
const TIME = "0.35";

Deno.test("a brief soak finds nothing wrong", async () => {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-check", "--v8-flags=--expose-gc"],
      ...[`${import.meta.dirname}/../soak.ts`, TIME],
    ],
    env: { NO_COLOR: "1" },
    stderr: "inherit",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stdout));
});
