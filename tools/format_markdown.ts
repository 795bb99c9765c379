/**
 * Formats what the tasks write into the docs.
 *
 * @module
 */

/** Markdown as `deno fmt` has it, so that the two can be compared. */
export async function formatMarkdown(text: string): Promise<string> {
  const fmt = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext=md", "-"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const [{ stdout }] = await Promise.all([
    fmt.output(),
    new Response(text).body!.pipeTo(fmt.stdin),
  ]);
  return new TextDecoder().decode(stdout);
}
