/**
 * Makes the second engine the network of each map that names no other, so that
 * tests run on it: `deno task test:epoll`.
 */

import { setDefaultNetwork } from "../loop.ts";
import "../net/deno_network.ts";
import { epollNetwork } from "../epoll/mod.ts";

setDefaultNetwork(epollNetwork);
