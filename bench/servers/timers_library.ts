/**
 * The timers of this library among 100,000 pending ones.
 *
 * @module
 */

import { SocketMap, type Timer } from "../../mod.ts";
import { measureTimers } from "./timers.mjs";

const map = new SocketMap();
const ignore = () => {};

measureTimers<Timer>({
  arm: (delay) => map.callLater(delay, ignore),
  reset: (timer) => {
    timer.reset();
    return timer;
  },
  cancel: (timer) => timer.cancel(),
});
