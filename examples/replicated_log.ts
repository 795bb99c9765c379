/**
 * A log that three processes keep: a primary and its followers `a` and `b`. A
 * record is acknowledged when two of the three disks have it, so no failure of
 * one loses it. A member that was away catches up.
 *
 *     deno run --allow-net --allow-read=FILE --allow-write=FILE examples/replicated_log.ts primary 8010 FILE
 *     deno task example replicated_log a 8010 a.log    (where JSR cannot be reached)
 *     deno run --allow-net examples/replicated_log.ts
 *
 * Without arguments it shows how it works, in one process and in memory. Talk
 * to a primary by `nc 127.0.0.1 8010`: `append KEY TEXT` adds a record, once
 * for each key, and `read` shows all. Ctrl-C or SIGTERM ends a member.
 *
 * There is no election: while the primary is away, nothing can be appended, and
 * it comes back as the primary. If its disk is lost, the longest of the other
 * files takes the place of `primary.log`: it has all that was acknowledged.
 *
 * @module
 */

import { type Address, loop, shutdown, socketMap } from "@asyncore/asyncore";
import { parsePort, runCommand, UsageError } from "./command_line.ts";
import { addressText, createLogger, reasonOf } from "./logging.ts";
import { quote } from "./quote.ts";
import { type Disk, FileDisk } from "./replicated_disk.ts";
import { Follower, LogClient } from "./replicated_follower.ts";
import { Primary } from "./replicated_primary.ts";
import { shutdownAtSignal } from "./signals.ts";

const USAGE = `\
Usage: replicated_log.ts [ROLE PORT FILE] [--help]

A log that three processes keep; without arguments, a demonstration of it.

  ROLE  primary, or a or b for one of its followers; Ctrl-C or SIGTERM ends it
  PORT  the primary's; talk to it with "nc 127.0.0.1 PORT"
  FILE  the member's records`;
const FOLLOWERS = ["a", "b"];

/** Forgets all at the end of the program. */
class MemoryDisk implements Disk {
  readonly #records: string[] = [];
  read = () => [...this.#records];
  write = (records: readonly string[]) => {
    this.#records.push(...records);
    return Promise.resolve();
  };
  sync = () => Promise.resolve();
}

/** Shows how members fail, and come back. */
async function demonstrate(): Promise<number> {
  const [disk, ...disks] = [1, 2, 3].map(() => new MemoryDisk());
  const primary = new Primary(0, disk!, FOLLOWERS);
  const follow = (i: number) =>
    new Follower(FOLLOWERS[i]!, primary.addr as Address, disks[i]!);
  const [a, b] = [follow(0), follow(1)];
  const client = new LogClient(primary.addr as Address);
  const looping = loop();

  await client.append("spam");
  console.log("spam is acknowledged; now b fails");
  b.close();
  await client.append("eggs");
  console.log("eggs is acknowledged, as the primary and a have it; a fails");
  a.close();
  const appended = client.append("ham");
  console.log("ham waits for a majority; b comes back, and catches up");
  follow(1);
  await appended;
  const texts = (await client.read()).map((record) => record.split(" ")[1]);
  console.log(`ham is acknowledged; the log is ${texts.join(", ")}`);
  await shutdown();
  await looping;
  return 0;
}

/** Is one of the members until a signal. */
async function serve(role: string, port: number, path: string) {
  using end = new DisposableStack();
  end.use(shutdownAtSignal(socketMap.logger!));
  let member: Primary | Follower;
  try {
    const disk = end.use(new FileDisk(path));
    if (role === "primary") {
      member = new Primary(port, disk, FOLLOWERS);
      console.log(`listening on ${addressText(member.addr)}`);
    } else member = new Follower(role, { hostname: "127.0.0.1", port }, disk);
  } catch (error) {
    console.error(`Cannot be ${role}: ${reasonOf(error)}`);
    return 1;
  }
  await loop();
  await member.records.store(); // before the disk is closed
  return 0;
}

if (import.meta.main) {
  await runCommand({
    help: USAGE,
    operands: ["ROLE", "PORT", "FILE"],
    isOptional: true,
  }, (_, [role = "primary", port, path]) => {
    socketMap.logger = createLogger(role);
    if (path === undefined) return demonstrate();
    if (role !== "primary" && !FOLLOWERS.includes(role)) {
      throw new UsageError(`ROLE must be primary, a or b, got ${quote(role)}`);
    }
    return serve(role, parsePort(port, role === "primary" ? 0 : 1), path);
  });
}
