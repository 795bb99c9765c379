/**
 * The runtime's own timers among 100,000 pending ones, in Deno and in Node.
 *
 * @module
 */

import { measureTimers } from "./timers.mjs";

const ignore = () => {};

measureTimers({
  arm: (delay) => setTimeout(ignore, delay),
  reset: (timer, delay) => {
    // Node has a call for it; elsewhere it takes two.
    if (typeof timer === "object") return timer.refresh();
    clearTimeout(timer);
    return setTimeout(ignore, delay);
  },
  cancel: (timer) => clearTimeout(timer),
});
