/**
 * Certificates that live as long as the test file: an authority, and what it
 * has signed. No key is ever committed, and no command is needed.
 */

import "reflect-metadata"; // The next one does not load without it.
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

/** A certificate and its key, in PEM. */
export interface Certified {
  cert: string;
  key: string;
}

/** What the TLS tests are served with. */
export interface Certificates {
  /** The authority that has signed the others. */
  ca: string;
  /** For `localhost`, `127.0.0.1` and `::1`. */
  good: Certified;
  /** For a host of another name. */
  stranger: Certified;
  /** Like `good`, but its time is over. */
  expired: Certified;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const LOCAL_NAMES: Name[] = [
  { type: "dns", value: "localhost" },
  { type: "ip", value: "127.0.0.1" },
  { type: "ip", value: "::1" },
];
const DAY = 24 * 60 * 60 * 1_000;

interface Name {
  type: "dns" | "ip";
  value: string;
}

/** The authority of the tests. */
interface Authority {
  certificate: X509Certificate;
  keys: CryptoKeyPair;
}

function makeKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

/** Times in days from now. */
function between(from: number, until: number) {
  const notBefore = new Date(Date.now() + from * DAY);
  return { notBefore, notAfter: new Date(Date.now() + until * DAY) };
}

async function found(): Promise<Authority> {
  const keys = await makeKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: "CN=tests",
    keys,
    signingAlgorithm: ALGORITHM,
    ...between(-3, 2),
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, keys };
}

/** Signs a certificate for `names`, of a server or a client. */
async function sign(
  { certificate, keys }: Authority,
  names: Name[],
  times: { notBefore: Date; notAfter: Date },
): Promise<Certified> {
  const own = await makeKeys();
  const extensions: Extension[] = [
    new BasicConstraintsExtension(false),
    new SubjectAlternativeNameExtension(names),
    await SubjectKeyIdentifierExtension.create(own.publicKey),
    await AuthorityKeyIdentifierExtension.create(certificate),
  ];
  const signed = await X509CertificateGenerator.create({
    subject: "CN=x",
    issuer: certificate.subject,
    publicKey: own.publicKey,
    signingKey: keys.privateKey,
    signingAlgorithm: ALGORITHM,
    ...times,
    extensions,
  });
  return { cert: signed.toString("pem"), key: await exportKey(own) };
}

async function exportKey({ privateKey }: CryptoKeyPair): Promise<string> {
  const key = await crypto.subtle.exportKey("pkcs8", privateKey);
  return PemConverter.encode(key, "PRIVATE KEY");
}

async function make(): Promise<Certificates> {
  const authority = await found();
  const now = between(-1, 2);
  const elsewhere: Name[] = [{ type: "dns", value: "elsewhere.test" }];
  return {
    ca: authority.certificate.toString("pem"),
    good: await sign(authority, LOCAL_NAMES, now),
    stranger: await sign(authority, elsewhere, now),
    expired: await sign(authority, LOCAL_NAMES, between(-2, -1)),
  };
}

const made = await make();

/** The certificates; those of one test file are the same at each call. */
export function certificates(): Certificates {
  return made;
}

/** A test that makes certificates. */
export function testTls(
  name: string,
  test: () => Promise<void>,
  { ignore = false } = {},
): void {
  Deno.test({ name, ignore, fn: test });
}
