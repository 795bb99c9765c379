/**
 * Keeps web pages away from servers that obey lines. A page can make a browser
 * post any lines to any port of this machine, but the lines of HTTP come first.
 *
 * @module
 */

const VERB =
  /^(?:CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE)(?![\w-])/i;

/** Whether a line begins like an HTTP request, in capitals or not. */
export function isHttp(line: string): boolean {
  return VERB.test(line);
}
