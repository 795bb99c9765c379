/**
 * What a dispatcher's `startTls()` asks for: checked, passed on, or refused.
 *
 * @module
 */

import { checkText } from "./arguments.ts";
import type { Endpoint } from "./connection.ts";
import type { DispatcherHooks } from "./dispatcher_hooks.ts";
import type { StartTlsOptions } from "./dispatcher_options.ts";
import { describeError } from "./log.ts";
import type { Network } from "./network.ts";
import { warn } from "./own_lines.ts";
import { CONNECTION, ENTRY, MAP } from "./symbols.ts";
import { checkTls, type TlsOptions } from "./tls_options.ts";

/** A dispatcher with a connection to secure. */
interface Conversing extends DispatcherHooks {
  readonly [MAP]: DispatcherHooks[typeof MAP] & { readonly network: Network };
  [CONNECTION](action: string): Endpoint;
}

/**
 * Asks for TLS over the connection of a dispatcher.
 *
 * @param asked The host that `connect()` was given, if it was called.
 */
export function requestTls(
  dispatcher: Conversing,
  options: StartTlsOptions,
  asked: string | undefined,
): Promise<void> {
  try {
    checkTls(options);
    if ((options as TlsOptions).cert !== undefined) {
      throw new TypeError(
        'Cannot start TLS with a certificate: Deno shows one only on a socket of transport "tls"',
      );
    }
    const { hostname = asked || hostOf(dispatcher.addr), ...tls } = options;
    const endpoint = dispatcher[CONNECTION]("start TLS");
    if (!endpoint.closed && hostname === "") {
      // Deno would check the name "localhost" instead.
      const message = "Cannot start TLS: hostname must not be empty";
      return endpoint.refuseTls(new TypeError(message));
    }
    if (!endpoint.closed) checkText("hostname", hostname);
    return endpoint.startTls(dispatcher[MAP].network, hostname, tls);
  } catch (error) {
    return refuseTls(dispatcher, error);
  }
}

/** The host of a peer that has connected by itself. */
function hostOf(addr: Deno.Addr | null): string {
  return addr && "hostname" in addr ? addr.hostname : "";
}

/**
 * The promise of a `startTls()` that is refused. If nobody awaits it, the
 * refusal is logged and does not end the process.
 */
export function refuseTls(
  dispatcher: DispatcherHooks,
  error: unknown,
): Promise<never> {
  const refusal = Promise.reject(error);
  refusal.catch(() => {
    const hooks = dispatcher[ENTRY]?.hooks;
    const tell = () => {
      if (hooks?.lastFailure === error) return;
      const message = `was refused startTls(), and goes on as it was: ${
        describeError(error)
      }`;
      warn(dispatcher, message, { kind: "no TLS" });
    };
    if (hooks) hooks.whenSettled(tell);
    else tell();
  });
  return refusal;
}
