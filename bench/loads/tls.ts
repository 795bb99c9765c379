/**
 * Messages to and fro over TLS.
 *
 * @module
 */

import { TLS } from "../competitors.ts";
import { type Load, openSession } from "../load.ts";
import { openEcho } from "./echo.ts";

const CONNECTIONS = 64;
const SIZES = [64, 16 * 1_024];

/** 64 connections, small and larger messages. */
export const TLS_LOAD: Load = {
  id: "tls",
  unit: "message",
  competitors: TLS,
  open: (competitor, bench) =>
    openSession(async (stack) => {
      // Only this load needs a package to make them.
      const { certificates } = await import("../../tests/certificates.ts");
      const { good, ca } = certificates();
      const folder = await Deno.makeTempDir();
      stack.defer(() => Deno.remove(folder, { recursive: true }));
      const files = [`${folder}/cert.pem`, `${folder}/key.pem`];
      await Deno.writeTextFile(files[0]!, good.cert);
      await Deno.writeTextFile(files[1]!, good.key);
      const session = stack.use(
        await openEcho(competitor, bench, {
          connections: CONNECTIONS,
          phases: SIZES.map((size) => ({ active: CONNECTIONS, size })),
          tls: { files, ca },
        }),
      );
      return () => session.measure();
    }),
};
