/**
 * Certificates that live as long as the test file: an authority, and what it
 * has signed. No key is ever committed.
 */

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

const LOCAL_NAMES = "DNS:localhost,IP:127.0.0.1,IP:::1";

/** Tells whether `command` can be run here. */
export function hasCommand(command: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(command, { args, stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
}

/** Whether certificates can be made here. */
export const hasOpenssl: boolean = hasCommand("openssl", "version");

function openssl(cwd: string, ...args: string[]): void {
  const { success, stderr } = new Deno.Command("openssl", { args, cwd })
    .outputSync();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/** Signs a certificate for `names` that is valid for `days` from now. */
function sign(cwd: string, names: string, days: number): Certified {
  const request = ["-nodes", "-keyout", "key", "-out", "csr", "-subj", "/CN=x"];
  openssl(cwd, "req", "-new", ...NEW_KEY, ...request);
  const extensions = `subjectAltName=${names}\nbasicConstraints=CA:FALSE\n`;
  Deno.writeTextFileSync(`${cwd}/ext`, extensions);
  const authority = ["-CA", "ca", "-CAkey", "cakey", "-set_serial", "7"];
  const files = ["-in", "csr", "-out", "cert", "-extfile", "ext"];
  const time = ["-days", String(days)];
  openssl(cwd, "x509", "-req", ...authority, ...files, ...time);
  return {
    cert: Deno.readTextFileSync(`${cwd}/cert`),
    key: Deno.readTextFileSync(`${cwd}/key`),
  };
}

function make(): Certificates {
  const cwd = Deno.makeTempDirSync();
  try {
    const authority = ["-subj", "/CN=tests", "-days", "2"];
    const files = ["-nodes", "-keyout", "cakey", "-out", "ca"];
    openssl(cwd, "req", "-x509", ...NEW_KEY, ...files, ...authority);
    return {
      ca: Deno.readTextFileSync(`${cwd}/ca`),
      good: sign(cwd, LOCAL_NAMES, 2),
      stranger: sign(cwd, "DNS:elsewhere.test", 2),
      expired: sign(cwd, LOCAL_NAMES, -1),
    };
  } finally {
    Deno.removeSync(cwd, { recursive: true });
  }
}

let made: Certificates | undefined;

/** The certificates, made at the first call. */
export function certificates(): Certificates {
  return made ??= make();
}

/** A test that makes certificates; ignored where that cannot be done. */
export function testTls(
  name: string,
  test: () => Promise<void>,
  { ignore = false } = {},
): void {
  Deno.test({ name, ignore: ignore || !hasOpenssl, fn: test });
}
