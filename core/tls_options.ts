/**
 * What a TLS connection is secured with: {@linkcode TlsOptions}.
 *
 * @module
 */

import { checkBoolean, showValue } from "./arguments.ts";
import {
  type AnyNames,
  checkOptions,
  type OptionNames,
} from "./option_names.ts";

/** What a TLS connection is secured with. All certificates and keys are PEM. */
export interface TlsOptions {
  /**
   * Certificate authorities that a client trusts besides those of the system. A
   * server asks for no certificate.
   *
   * @default {none}
   */
  caCerts?: string[] | undefined;
  /** Our own certificate: a server must have one, a client may. */
  cert?: string | undefined;
  /** The private key of `cert`. */
  key?: string | undefined;
  /**
   * The protocols to offer or accept (ALPN, RFC 7301), the preferred first.
   *
   * @default {none}
   */
  alpnProtocols?: string[] | undefined;
  /**
   * Does not check that the certificate is for the host that was asked for.
   * For tests; it makes the connection open to whoever sits in between.
   *
   * @default {false}
   */
  unsafelyDisableHostnameVerification?: boolean | undefined;
}

/** The names of the TLS options. */
export const TLS_OPTIONS: OptionNames<TlsOptions> = {
  caCerts: true,
  cert: true,
  key: true,
  alpnProtocols: true,
  unsafelyDisableHostnameVerification: true,
};

/**
 * Checks the options of a TLS socket.
 *
 * @param names The options that there are.
 * @param owner The option that holds these options, if any.
 * @throws {TypeError} If one is unknown or has the wrong type, or `cert` lacks its
 * `key`.
 */
export function checkTls(
  tls: TlsOptions,
  names: AnyNames = TLS_OPTIONS,
  owner: string = "tls",
): void {
  checkOptions(tls, names, "", owner);
  const { unsafelyDisableHostnameVerification: unsafe = false } = tls;
  checkBoolean("tls.unsafelyDisableHostnameVerification", unsafe);
  for (const name of ["cert", "key"] as const) {
    const value: unknown = tls[name];
    if (value === undefined || typeof value === "string") continue;
    throw new TypeError(
      `tls.${name} must be text in PEM, got ${showValue(value)}`,
    );
  }
  if ((tls.cert === undefined) !== (tls.key === undefined)) {
    const missing = tls.cert === undefined ? "cert" : "key";
    throw new TypeError(`tls.${missing} is missing: cert and key go together`);
  }
  for (const name of ["caCerts", "alpnProtocols"] as const) {
    const value: unknown = tls[name];
    if (value === undefined) continue;
    if (Array.isArray(value) && value.every((v) => typeof v === "string")) {
      continue;
    }
    throw new TypeError(
      `tls.${name} must be an array of text, got ${showValue(value)}`,
    );
  }
}
