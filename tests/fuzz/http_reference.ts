/** What the requests in some bytes are, found in the whole. */

import { assert, assertLessOrEqual } from "@std/assert";
import {
  HttpError,
  type HttpRequest,
  LONGEST_LINE,
  RequestParser,
} from "../../examples/http_request.ts";
import type { Binary } from "./inputs.ts";

/** The most bytes of a request's lines, of its body, and of a line that is refused. */
const MOST = 32_768 + 65_536 + LONGEST_LINE;

/** The requests that are complete, and what is wrong with the next one. */
export interface Requests {
  requests: HttpRequest[];
  error: HttpError | null;
}

/**
 * Feeds a parser with the lines and blocks that it asks for. However long the
 * input is, one request takes no more than so much of it.
 */
export function requestsIn(input: Binary): Requests {
  const parser = new RequestParser();
  const requests: HttpRequest[] = [];
  let start = 0;
  try {
    for (let at = 0;;) {
      const { terminator, wantsLine } = parser;
      let end = input.indexOf("\n", at);
      if (typeof terminator === "number") {
        assert(!wantsLine && terminator > 0);
        end = at + terminator;
      } else if ((end < 0 ? input.length : end) - at > LONGEST_LINE) {
        throw parser.overflow();
      }
      if (end < 0 || end > input.length) {
        assertLessOrEqual(input.length - start, MOST);
        return { requests, error: null };
      }
      const request = parser.take(wantsLine ? input.slice(at, end) : "");
      at = end + (wantsLine ? 1 : 0);
      assertLessOrEqual(at - start, MOST);
      if (request === null) continue;
      requests.push(request);
      start = at;
    }
  } catch (error) {
    if (error instanceof HttpError) return { requests, error };
    throw error;
  }
}
