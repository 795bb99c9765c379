/** A thread that talks over many connections at once: an echo brings the next. */

addEventListener("message", (event) => {
  const { addr, count } = (event as MessageEvent).data;
  for (let i = 0; i < count; i++) void talk(addr);
});

async function talk(addr: Deno.ConnectOptions): Promise<void> {
  const buffer = new Uint8Array(64);
  try {
    using conn = await Deno.connect(addr);
    do await conn.write(buffer); while (await conn.read(buffer) !== null);
  } catch {
    // The server is gone.
  }
}
