/**
 * Names with several addresses, of which the first are dead. A child process has a
 * hosts file of the test's, in a name space of its own.
 */

import { assertEquals } from "@std/assert";
import { Folder, runCommand } from "./peers.ts";
import { DENO_CAN } from "./support.ts";

const PROGRAM =
  `${import.meta.dirname}/../tools/test_programs/several_addresses.ts`;

/** Each name with its addresses, the first of them dead. */
const HOSTS: Record<string, string[]> = {
  "no-ipv6": ["::1", "127.0.1.1"],
  "refused-first": ["127.0.0.4", "127.0.0.5", "127.0.1.1"],
  "silent-first": ["127.0.0.2", "127.0.1.1"],
  "silent-twice": ["127.0.0.2", "127.0.0.3", "127.0.1.1"],
  "silent-and-refused": ["127.0.0.2", "127.0.0.4", "::1", "127.0.1.1"],
  "all-refused": ["127.0.0.4", "127.0.0.5", "::1"],
  "all-silent": ["127.0.0.2", "127.0.0.3"],
};

/** Runs a program of Deno's whose `/etc/hosts` is another file. */
async function withHosts(hosts: string, ...args: string[]): Promise<string> {
  const command = 'mount --bind "$0" /etc/hosts && exec "$@"';
  const run = [Deno.execPath(), "run", "-A", "--no-check", PROGRAM, ...args];
  const { code, out, err } = await runCommand("unshare", [
    ...["-rm", "sh", "-c", command, hosts, ...run],
  ]);
  assertEquals({ code, err }, { code: 0, err: "" });
  return out;
}

/** Whether a program may have a hosts file of its own. */
function canMount(): boolean {
  try {
    const args = ["-rm", "mount", "--bind", "/etc/hostname", "/etc/hosts"];
    return new Deno.Command("unshare", { args }).outputSync().success;
  } catch {
    return false;
  }
}

/** Tests how connect() ends for each name, within `timeout` ms. */
function testNames(
  name: string,
  timeout: number,
  outcomes: Record<string, string>,
): void {
  Deno.test({
    name: `${name} (skipped where no hosts file can be replaced)`,
    ignore: !DENO_CAN.tryAddresses || !canMount(),
    async fn() {
      using folder = new Folder();
      const lines = Object.entries(HOSTS).flatMap(([name, addresses]) =>
        addresses.map((address) => `${address} ${name}\n`)
      );
      const hosts = folder.write("hosts", lines.join(""));
      const names = Object.keys(outcomes);
      const out = await withHosts(hosts, `${timeout}`, ...names);
      const expected = names.map((name) =>
        `${name}: ${outcomes[name]}, 0 left\n`
      );
      assertEquals(out, expected.join(""));
    },
  });
}

// The system itself would try a silent address for two minutes.
testNames("connect() reaches the address behind dead ones", 20_000, {
  "no-ipv6": "127.0.1.1",
  "refused-first": "127.0.1.1",
  "silent-first": "127.0.1.1",
  "silent-twice": "127.0.1.1",
  "silent-and-refused": "127.0.1.1",
});
testNames("connect() tells of a name whose addresses are all dead", 1_000, {
  "all-refused": "ConnectionRefused",
  "all-silent": "TimedOut",
});
