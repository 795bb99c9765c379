import "../core/runtime.ts";
import "../net/deno_network.ts";
export { type EpollNetwork, epollNetwork } from "./network.ts";
