/**
 * The client of all loads: takes an {@linkcode Order} in JSON on each line of
 * standard input, and answers with the {@linkcode Traffic} that came of it.
 *
 * @module
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { DenoClient } from "./deno_client.ts";
import { HAS_LIBC } from "./libc.ts";
import { SystemClient } from "./system_client.ts";
import type { Client, Order, Place, Traffic } from "./traffic.ts";

let client: Client = new DenoClient();

function clientFor({ ca }: Place): Client {
  return HAS_LIBC && ca === undefined ? new SystemClient() : new DenoClient();
}

function carryOut(order: Order): Promise<Traffic> {
  switch (order.do) {
    case "connect":
      client = clientFor(order.place);
      return client.connect(order.place, order.count, order.greetEvery);
    case "ping":
      return client.ping(order.active, order.size, order.seconds);
    case "churn": {
      const { place, slots, size, seconds } = order;
      return clientFor(place).churn(place, slots, size, seconds);
    }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const traffic = await carryOut(JSON.parse(line) as Order);
    console.log(JSON.stringify(traffic));
  } catch (error) {
    const { message } = error as Error;
    console.log(JSON.stringify({ error: message }));
  }
}
