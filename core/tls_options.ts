/**
 * What a TLS connection is secured with: {@linkcode TlsOptions}.
 *
 * @module
 */

import { checkBoolean, checkOptions, showValue } from "./arguments.ts";

/** What a TLS connection is secured with. All certificates and keys are PEM. */
export interface TlsOptions {
  /**
   * Certificate authorities that a client trusts besides those of the system. A
   * server asks for no certificate.
   *
   * @default {none}
   */
  caCerts?: string[];
  /** Our own certificate: a server must have one, a client may. */
  cert?: string;
  /** The private key of `cert`. */
  key?: string;
  /**
   * The protocols to offer or accept (ALPN, RFC 7301), the preferred first.
   *
   * @default {none}
   */
  alpnProtocols?: string[];
  /**
   * Does not check that the certificate is for the host that was asked for.
   * For tests; it makes the connection open to whoever sits in between.
   *
   * @default {false}
   */
  unsafelyDisableHostnameVerification?: boolean;
}

/**
 * Checks the options of a TLS socket.
 *
 * @throws {TypeError} If one has the wrong type, or `cert` lacks its `key`.
 */
export function checkTls(tls: TlsOptions): void {
  checkOptions(tls);
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
