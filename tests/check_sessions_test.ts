import { assertEquals } from "@std/assert";
import {
  checkSessions,
  History,
  type SessionGuarantee,
} from "../testing/mod.ts";

/** Steps as `x:write,1` and `y:read=1`; `x:get,k=` has found nothing. */
const SESSIONS: [name: string, steps: string, found: SessionGuarantee[]][] = [
  ["a client sees its write", "x:write,1 x:read=1", []],
  ["or nothing", "x:write,1 x:read=", ["read your writes"]],
  ["or its write before", "x:write,1 x:write,2 x:read=1", ["read your writes"]],
  ["another client is late", "x:write,1 y:read=", []],
  ["and sees it vanish", "x:write,1 y:read=1 y:read=", ["monotonic reads"]],
  [
    "two clients see two orders",
    "x:write,1 y:write,2 a:read=1 a:read=2 b:read=2 b:read=1",
    [],
  ],
  [
    "writes of one client come in the wrong order",
    "x:write,1 x:write,2 y:read=2 y:read=1",
    ["monotonic writes"],
  ],
  [
    "an answer comes before its question",
    "x:write,1 y:read=1 y:write,2 z:read=2 z:read=1",
    ["writes follow reads"],
  ],
  ["another key is of no matter", "x:put,k,1 x:get,j= x:get,k=1", []],
  ["a value was written twice", "x:write,1 y:write,1 x:write,2 x:read=1", []],
  ["nobody wrote a value", "x:write,1 x:read=7", []],
];

for (const [name, steps, found] of SESSIONS) {
  Deno.test(`checkSessions() finds ${found.join() || "nothing"}: ${name}`, () => {
    const history = new History();
    for (const step of steps.split(" ")) {
      const [, client, call, result] = /^(\w):([^=]*)=?(.*)$/.exec(step)!;
      const [operation, ...args] = call!.split(",");
      history.call(client!, operation!, ...args)
        .returns(result === "" ? undefined : result);
    }
    const violations = checkSessions(history);
    assertEquals(violations.map(({ guarantee }) => guarantee), found);
  });
}

Deno.test("checkSessions() does not count on a write or read without a return", () => {
  const history = new History();
  history.call("x", "write", 1);
  history.call("x", "read").returns(undefined);
  history.call("x", "read");
  assertEquals(checkSessions(history), []);
});
