/**
 * What this machine has: runtimes, processors, and their names.
 *
 * @module
 */

import { arch, cpus, release } from "node:os";

/** A runtime that servers are written for. */
export type Runtime = "deno" | "node" | "python";

/** What the measurements depend on. */
export interface Machine {
  /** The command and the version of each runtime that is here. */
  runtimes: Partial<Record<Runtime, { command: string; version: string }>>;
  cpu: string;
  cores: number;
  system: string;
  /** The processor for the servers, and that for the client, where it can be chosen. */
  pins: { server: number; client: number } | null;
}

/** What a command prints; `null` if it fails or is not here. */
async function outputOf(
  command: string,
  ...args: string[]
): Promise<string | null> {
  try {
    const { success, stdout } = await new Deno.Command(command, {
      args,
      stderr: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout).trim() : null;
  } catch {
    return null; // There is no program of this name, or it must not be run.
  }
}

/** The first Python that has asyncore and asynchat (3.12 took them out). */
export async function findPython(): Promise<
  { command: string; version: string } | null
> {
  const script =
    "import asynchat, asyncore, platform; print(platform.python_version())";
  for (
    const command of ["python3.11", "python3", "/usr/bin/python3", "python"]
  ) {
    const args = ["-W", "ignore", "-c", script];
    const version = await outputOf(command, ...args);
    if (version) return { command, version };
  }
  return null;
}

/** Which processors to give to server and client: the last two allowed ones. */
async function findPins(): Promise<Machine["pins"]> {
  const cores = navigator.hardwareConcurrency;
  if (cores < 2) return null;
  const pins = { server: cores - 1, client: cores - 2 };
  for (const core of Object.values(pins)) {
    const answer = await outputOf("taskset", "-c", String(core), "echo", "ok");
    if (answer !== "ok") return null;
  }
  return pins;
}

/** Looks around; `pin` tells whether to choose the processors. */
export async function findMachine(pin: boolean): Promise<Machine> {
  const runtimes: Machine["runtimes"] = {
    deno: { command: Deno.execPath(), version: Deno.version.deno },
  };
  const node = await outputOf("node", "--version");
  if (node) runtimes.node = { command: "node", version: node.slice(1) };
  const python = await findPython();
  if (python) runtimes.python = python;
  return {
    runtimes,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: navigator.hardwareConcurrency,
    system: `${Deno.build.os} ${release()} ${arch()}`,
    pins: pin ? await findPins() : null,
  };
}
