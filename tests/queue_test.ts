import { assertEquals, assertLess } from "@std/assert";
import { Queue } from "../core/queue.ts";
import { newSeed, randomFrom } from "./fakes.ts";
import { cpuTime } from "./support.ts";

Deno.test("Queue.shift() of an empty one gives nothing, again and again", () => {
  const queue = new Queue<string>();
  assertEquals(queue.shift(), undefined);
  queue.push("a");
  assertEquals([queue.shift(), queue.shift(), queue.shift()], [
    "a",
    undefined,
    undefined,
  ]);
  queue.push("b");
  assertEquals([queue.length, queue.first, queue.last], [1, "b", "b"]);
});

Deno.test("Queue does what an array does, whatever comes and goes", () => {
  const random = randomFrom(newSeed());
  const queue = new Queue<number>();
  const array: number[] = [];
  let next = 0;
  for (let round = 0; round < 200; round++) {
    for (let left = random() * 100; left > 0; left--) {
      queue.push(next);
      array.push(next++);
    }
    for (let left = random() * 100; left > 0; left--) {
      assertEquals(queue.shift(), array.shift());
    }
    assertEquals(queue.length, array.length);
    assertEquals([queue.first, queue.last], [array[0], array.at(-1)]);
  }
  assertEquals(queue.takeAll(), array);
  assertEquals([queue.length, queue.takeAll()], [0, []]);
});

/** What an item costs, in ms, where `count` of them wait: the best of five. */
function costOfItem(count: number): number {
  const times = Array.from({ length: 5 }, () => {
    const queue = new Queue<number>();
    const start = cpuTime();
    for (let i = 0; i < count; i++) queue.push(i);
    while (queue.length > 0) queue.shift();
    return cpuTime() - start;
  });
  return Math.min(...times) / count;
}

Deno.test("Queue.shift() costs no more where 40 times as many items wait", () => {
  costOfItem(10_000);
  // With Array.shift() it is some hundred times as much.
  assertLess(costOfItem(400_000), 20 * costOfItem(10_000));
});
