/**
 * Stand-in for the parts of `@std/log` that this repo uses.
 *
 * @module
 */

/** The levels, from chatty to grave. */
export const LogLevels = {
  NOTSET: 0,
  DEBUG: 10,
  INFO: 20,
  WARN: 30,
  ERROR: 40,
  CRITICAL: 50,
} as const;

/** The name of a level. */
export type LevelName = keyof typeof LogLevels;

/** The number of a level. */
export type LogLevel = typeof LogLevels[LevelName];

/** What a handler is told about one message. */
export class LogRecord {
  /** The message. */
  readonly msg: string;
  /** What was given after the message. */
  readonly args: unknown[];
  /** The level as a number. */
  readonly level: LogLevel;
  /** The level as a name. */
  readonly levelName: LevelName;
  /** The logger that was called. */
  readonly loggerName: string;
  /** When it was called. */
  readonly datetime: Date = new Date();

  /** Describes a message of this moment. */
  constructor(
    options: {
      msg: string;
      args: unknown[];
      level: LogLevel;
      loggerName: string;
    },
  ) {
    this.msg = options.msg;
    this.args = options.args;
    this.level = options.level;
    this.levelName = nameOf(options.level);
    this.loggerName = options.loggerName;
  }
}

/** Turns a record into the text to write. */
export type FormatterFunction = (logRecord: LogRecord) => string;

/** Options of {@linkcode BaseHandler}. */
export interface BaseHandlerOptions {
  /** @default {({ levelName, msg }) => `${levelName} ${msg}`} */
  formatter?: FormatterFunction;
}

/** Writes the records of a level and above; a subclass says where. */
export abstract class BaseHandler {
  /** The lowest level to be written. */
  level: LogLevel;
  /** Makes the text. */
  formatter: FormatterFunction;

  /** A handler for the level and those above. */
  constructor(levelName: LevelName, options: BaseHandlerOptions = {}) {
    this.level = levelOf(levelName);
    this.formatter = options.formatter ??
      (({ levelName, msg }) => `${levelName} ${msg}`);
  }

  /** Writes the record if its level is high enough. */
  handle(logRecord: LogRecord): void {
    if (logRecord.level >= this.level) this.log(this.format(logRecord));
  }

  /** The text of a record. */
  format(logRecord: LogRecord): string {
    return this.formatter(logRecord);
  }

  /** Writes a text. */
  abstract log(msg: string): void;
}

/** Options of {@linkcode ConsoleHandler}. */
export interface ConsoleHandlerOptions extends BaseHandlerOptions {
  /** @default {true} */
  useColors?: boolean;
}

/** Writes to standard output. */
export class ConsoleHandler extends BaseHandler {
  readonly #useColors: boolean;

  /** A handler for the level and those above. */
  constructor(levelName: LevelName, options: ConsoleHandlerOptions = {}) {
    super(levelName, options);
    this.#useColors = (options.useColors ?? true) && !Deno.noColor;
  }

  /** The text of a record, coloured by its level. */
  override format(logRecord: LogRecord): string {
    const text = super.format(logRecord);
    const paint = PAINT[logRecord.levelName];
    return this.#useColors && paint ? paint(text) : text;
  }

  /** Writes a line. */
  override log(msg: string): void {
    console.log(msg);
  }
}

const red = (text: string) => `\x1b[31m${text}\x1b[39m`;

const PAINT: { [level in LevelName]?: (text: string) => string } = {
  INFO: (text) => `\x1b[34m${text}\x1b[39m`,
  WARN: (text) => `\x1b[33m${text}\x1b[39m`,
  ERROR: red,
  CRITICAL: (text) => `\x1b[1m${red(text)}\x1b[22m`,
};

/** Options of {@linkcode Logger}. */
export interface LoggerOptions {
  /** @default {[]} */
  handlers?: BaseHandler[];
}

/** Tells its handlers what it is told, from a level on. */
export class Logger {
  /** Who is told. */
  handlers: BaseHandler[];
  #level: LogLevel;
  readonly #loggerName: string;

  /** A logger for the level and those above. */
  constructor(
    loggerName: string,
    levelName: LevelName,
    options: LoggerOptions = {},
  ) {
    this.#loggerName = loggerName;
    this.#level = levelOf(levelName);
    this.handlers = options.handlers ?? [];
  }

  /** The name that records carry. */
  get loggerName(): string {
    return this.#loggerName;
  }

  /** The lowest level that is passed on. */
  get level(): LogLevel {
    return this.#level;
  }

  set level(level: LogLevel) {
    if (!isLevel(level)) throw new TypeError(`No log level is ${level}`);
    this.#level = level;
  }

  /** The name of the lowest level that is passed on. */
  get levelName(): LevelName {
    return nameOf(this.#level);
  }

  set levelName(levelName: LevelName) {
    this.#level = levelOf(levelName);
  }

  /** Logs at DEBUG and returns the message; a function is called only if it is needed. */
  debug<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /** Logs at DEBUG and returns the message. */
  debug<T>(msg: T extends Callable ? never : T, ...args: unknown[]): T;
  debug(msg: unknown, ...args: unknown[]): unknown {
    return this.#log(LogLevels.DEBUG, msg, args);
  }

  /** Logs at INFO and returns the message; a function is called only if it is needed. */
  info<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /** Logs at INFO and returns the message. */
  info<T>(msg: T extends Callable ? never : T, ...args: unknown[]): T;
  info(msg: unknown, ...args: unknown[]): unknown {
    return this.#log(LogLevels.INFO, msg, args);
  }

  /** Logs at WARN and returns the message; a function is called only if it is needed. */
  warn<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /** Logs at WARN and returns the message. */
  warn<T>(msg: T extends Callable ? never : T, ...args: unknown[]): T;
  warn(msg: unknown, ...args: unknown[]): unknown {
    return this.#log(LogLevels.WARN, msg, args);
  }

  /** Logs at ERROR and returns the message; a function is called only if it is needed. */
  error<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /** Logs at ERROR and returns the message. */
  error<T>(msg: T extends Callable ? never : T, ...args: unknown[]): T;
  error(msg: unknown, ...args: unknown[]): unknown {
    return this.#log(LogLevels.ERROR, msg, args);
  }

  /** Logs at CRITICAL and returns the message; a function is called only if it is needed. */
  critical<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /** Logs at CRITICAL and returns the message. */
  critical<T>(msg: T extends Callable ? never : T, ...args: unknown[]): T;
  critical(msg: unknown, ...args: unknown[]): unknown {
    return this.#log(LogLevels.CRITICAL, msg, args);
  }

  #log(level: LogLevel, msg: unknown, args: unknown[]): unknown {
    if (level < this.#level) return msg instanceof Function ? undefined : msg;
    const value = msg instanceof Function ? msg() : msg;
    const record = new LogRecord({
      msg: textOf(value),
      args,
      level,
      loggerName: this.#loggerName,
    });
    for (const handler of this.handlers) handler.handle(record);
    return value;
  }
}

// deno-lint-ignore no-explicit-any
type Callable = (...args: any[]) => any;

function textOf(value: unknown): string {
  if (value instanceof Error) return value.stack ?? String(value);
  if (typeof value !== "object" || value === null) return String(value);
  const fields = Object.entries(value).map(([name, field]) =>
    `"${name}":${typeof field === "string" ? `"${field}"` : textOf(field)}`
  );
  return `{${fields.join(",")}}`;
}

function isLevel(level: number): level is LogLevel {
  return Object.values<number>(LogLevels).includes(level);
}

function levelOf(name: LevelName): LogLevel {
  if (!Object.hasOwn(LogLevels, name)) {
    throw new Error(`No log level is called ${name}`);
  }
  return LogLevels[name];
}

function nameOf(level: LogLevel): LevelName {
  for (const [name, value] of Object.entries(LogLevels)) {
    if (value === level) return name as LevelName;
  }
  throw new Error(`No log level is ${level}`);
}
