/**
 * CPython 3.11's own tests of asyncore and asynchat, each with the tests here
 * that check the same. `tools/python_suite.ts` makes a chapter of the
 * documentation of it, and finds what is missing or not so.
 */

/** The tests here that check what one test of CPython checks. */
export interface Counterpart {
  /** The names of tests by file. If there are none, the note says why. */
  here: Record<string, string[]>;
  /** What differs on purpose, in Markdown. */
  note?: string;
}

/** The tests of some classes of CPython, by the names of the methods. */
export interface Group {
  module: "test_asyncore" | "test_asynchat";
  /** These have the same tests. */
  classes: string[];
  tests: Record<string, Counterpart>;
}

/** Tests of CPython, each with one test of a file here that checks the same. */
function same(file: string, names: Record<string, string>): Group["tests"] {
  return Object.fromEntries(
    Object.entries(names).map(([test, name]) => [test, {
      here: { [file]: [name] },
    }]),
  );
}

function differs(
  note: string,
  file: string,
  ...names: string[]
): Counterpart {
  return { here: { [file]: names }, note };
}

function none(note: string): Counterpart {
  return { here: {}, note };
}

const DISPATCH = "dispatch_test.ts";
const ERRORS = "errors_test.ts";
const DISPATCHER = "dispatcher_test.ts";
const LOG = "dispatcher_log_test.ts";
const FILE = "file_dispatcher_test.ts";
const CHAT = "async_chat_test.ts";

const GONE = "The helper is [gone](porting.md#the-loop)";

const HELPERS: Group["tests"] = {
  test_readwriteexc: {
    note: `${GONE}. The loop treats exceptions of hooks in the same way.`,
    here: {
      [DISPATCH]: [
        "loop() passes on an ExitNow from handleReadEvent() of a listener, which goes on",
        "loop() passes on an ExitNow from handleWriteEvent() of a client, which goes on",
      ],
      [ERRORS]: [
        "Dispatcher whose handleReadEvent() throws, with a handleError() that does nothing, disturbs nobody",
        "Dispatcher whose handleWriteEvent() throws, with a handleError() that does nothing, disturbs nobody",
      ],
    },
  },
  test_readwrite: {
    note:
      `${GONE}. The loop calls the same hooks; for their exceptions see above.`,
    here: {
      [DISPATCH]: ["Dispatcher gets only the events that happened"],
      [ERRORS]: [
        "Dispatcher whose read fails with a disconnect is closed: ConnectionReset: spam",
      ],
    },
  },
  ...same("close_all_test.ts", {
    test_closeall:
      "closeAll() closes everything in the map it is given, and in no other",
    test_closeall_default:
      "closeAll() closes everything in the map it is given, and in no other",
  }),
  test_compact_traceback: differs(
    "It takes [the error](porting.md#sockets), and gives one line of text.",
    "compact_traceback_test.ts",
    "compactTraceback() names the file, the function and the line that threw",
  ),
};

const BASICS: Group["tests"] = {
  test_repr: differs(
    "An object has no address: the text has the class.",
    LOG,
    "Dispatcher.toString() of a bare dispatcher is its class",
  ),
  ...same(DISPATCHER, {
    test_basic: "Dispatcher.readable() and writable() are true by default",
  }),
  ...same(LOG, {
    test_log:
      "Dispatcher.log() writes to standard error, logInfo() to standard output",
    test_log_info:
      "Dispatcher.log() writes to standard error, logInfo() to standard output",
    test_unhandled:
      "Dispatcher warns of the events that nobody handles, unless warnings are ignored",
  }),
  test_strerror: none(`${GONE}. An error of Deno has a text, not a number.`),
};

const WITH_SEND = same("dispatcher_with_send_test.ts", {
  test_send:
    "DispatcherWithSend.send() delivers in order, before and after connecting (IPv4)",
});

const NOT_DUPLICATED =
  "The file is [not duplicated](porting.md#files): it belongs to the wrapper.";

const FILES: Group["tests"] = {
  test_recv: differs(
    NOT_DUPLICATED,
    FILE,
    "FileWrapper reads and writes its file until it is closed",
  ),
  test_send: differs(
    NOT_DUPLICATED,
    FILE,
    "FileWrapper reads and writes its file until it is closed",
  ),
  test_dispatcher: differs(
    NOT_DUPLICATED,
    FILE,
    "FileDispatcher reads a file of 512 bytes to its end, and closes once",
  ),
  test_resource_warning: none(
    "Python warns of an open file that is collected. JavaScript tells no program of that.",
  ),
  ...same(FILE, {
    test_close_twice:
      "FileWrapper.close() says so when somebody else has closed the file",
  }),
};

/** The tests for a family of sockets, whose name stands in those here. */
const API: Group["tests"] = {
  ...same(DISPATCHER, {
    test_handle_connect:
      "Dispatcher's state follows a connection through its life (FAMILY)",
    test_handle_accept:
      "Dispatcher.handleAccept() runs when a client connects (FAMILY)",
    test_handle_accepted:
      "Dispatcher.handleAccepted() gets each client's connection and address (FAMILY)",
    test_handle_read:
      "Dispatcher.handleRead() runs when bytes have arrived, until they are taken (FAMILY)",
    test_handle_write:
      "Dispatcher.handleWrite() runs once connected, and what it sends arrives (FAMILY)",
    test_handle_close:
      "Dispatcher.handleClose() runs once when the other side has closed (FAMILY)",
    test_handle_error:
      "Dispatcher.handleError() gets what handleWrite() throws (FAMILY)",
    test_connection_attributes:
      "Dispatcher's state follows a connection through its life (FAMILY)",
    test_create_socket:
      "Dispatcher's sockets are of the address's family, and no child process gets them (FAMILY)",
  }),
  ...same(ERRORS, {
    test_quick_connect:
      "Dispatcher goes on serving after 100 clients that reset before they were accepted (FAMILY)",
  }),
  test_handle_close_after_conn_broken: differs(
    "`handleClose()` comes [in a later pass](porting.md#sockets), not inside `send()`.",
    DISPATCHER,
    "Dispatcher.handleClose() runs when a sender that never reads has lost its peer (FAMILY)",
  ),
  test_handle_expt: differs(
    "[Urgent data](porting.md#sockets) needs `epollNetwork`. Deno does not tell of it: no hook runs.",
    "interop_test.ts",
    "Dispatcher.handleExpt() gets the urgent byte of a client, as in Python (FAMILY)",
    "Dispatcher gets no event for urgent data over Deno's network, and all other bytes (FAMILY)",
  ),
  test_bind: differs(
    "The first one [need not call](porting.md#sockets) `listen()`.",
    DISPATCHER,
    "Dispatcher.bind() throws AddrInUse where somebody listens already (FAMILY)",
  ),
  test_set_reuse_addr: differs(
    "`setReuseAddr()` [does nothing](porting.md#sockets), as Deno sets the option; the test checks its use.",
    DISPATCHER,
    "Dispatcher.setReuseAddr() lets a server come back on its port at once (FAMILY)",
  ),
};

const SKIPPED = "CPython skips it for Unix sockets.";

/** Of the tests for each family, those that CPython skips for Unix sockets. */
const SKIPPED_FOR_UNIX: Group["tests"] = {
  test_bind: { ...API["test_bind"]!, note: SKIPPED },
  test_handle_expt: none(SKIPPED),
  test_set_reuse_addr: none(SKIPPED),
  test_quick_connect: none(SKIPPED),
};

/** The groups for a family; its sockets have a name of their own in Python. */
function api(family: string, sockets = family): Group {
  const tests = sockets === family ? API : { ...API, ...SKIPPED_FOR_UNIX };
  return {
    module: "test_asyncore",
    classes: [`TestAPI_Use${sockets}Select`, `TestAPI_Use${sockets}Poll`],
    tests: JSON.parse(JSON.stringify(tests).replaceAll("FAMILY", family)),
  };
}

/** One test for each size of the pieces in which the bytes come back. */
function lines(terminator: string): Counterpart {
  const name = `AsyncChat finds ${JSON.stringify(terminator)} in pieces of`;
  return { here: { [CHAT]: [1, 2, 3].map((size) => `${name} ${size}`) } };
}

const CHATS: Group["tests"] = {
  test_line_terminator1: lines("\n"),
  test_line_terminator2: lines("\r\n"),
  test_line_terminator3: lines("qqq"),
  test_empty_line: lines("\n"),
  ...same(CHAT, {
    test_numeric_terminator1:
      "AsyncChat with the terminator 1 takes in that many bytes, then the rest",
    test_numeric_terminator2:
      "AsyncChat with the terminator 6 takes in that many bytes, then the rest",
    test_none_terminator:
      "AsyncChat with the terminator null takes in that many bytes, then the rest",
    test_simple_producer:
      "AsyncChat.pushWithProducer() takes a SimpleProducer, bytes and text",
    test_string_producer:
      "AsyncChat.pushWithProducer() takes a SimpleProducer, bytes and text",
  }),
  test_close_when_done: {
    here: {
      [CHAT]: [
        "AsyncChat.closeWhenDone() closes before the answer, after the last byte",
      ],
      "async_chat_send_test.ts": [
        "AsyncChat.closeWhenDone() before connect() has ended waits for the connection to stand",
      ],
    },
  },
  test_push: differs(
    "`push()` [takes text](porting.md#asynchat), too.",
    CHAT,
    "AsyncChat.push() takes bytes of every kind and text, and nothing else",
  ),
};

const MOCKED = same(CHAT, {
  test_blockingioerror:
    "AsyncChat.handleRead() with nothing to read is no error",
});

const PREFIXES: Group["tests"] = {
  test_find_prefix_at_end: differs(
    "The helper is [gone](porting.md#asynchat); the test checks its use.",
    "async_chat_terminator_test.ts",
    'AsyncChat takes "spam\\r\\n\\r\\n\\reggs\\n\\r\\nham\\r" apart at [ "\\r\\n" ] however it is split',
  ),
};

const NOT_CONNECTED: Group["tests"] = {
  test_disallow_negative_terminator: differs(
    "It is a `RangeError`, [as for other terminators](porting.md#asynchat) that end no message.",
    "async_chat_terminator_test.ts",
    "AsyncChat.setTerminator() refuses what ends no message",
  ),
};

const CORE = "test_asyncore";
const ASYNCHAT = "test_asynchat";

/** Every class of both modules. */
export const GROUPS: Group[] = [
  { module: CORE, classes: ["HelperFunctionTests"], tests: HELPERS },
  { module: CORE, classes: ["DispatcherTests"], tests: BASICS },
  { module: CORE, classes: ["DispatcherWithSendTests"], tests: WITH_SEND },
  { module: CORE, classes: ["FileWrapperTest"], tests: FILES },
  api("IPv4"),
  api("IPv6"),
  api("Unix", "UnixSockets"),
  {
    module: ASYNCHAT,
    classes: ["TestAsynchat", "TestAsynchat_WithPoll"],
    tests: CHATS,
  },
  { module: ASYNCHAT, classes: ["TestAsynchatMocked"], tests: MOCKED },
  { module: ASYNCHAT, classes: ["TestHelperFunctions"], tests: PREFIXES },
  { module: ASYNCHAT, classes: ["TestNotConnected"], tests: NOT_CONNECTED },
];
