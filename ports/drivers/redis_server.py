"""Needs: redis-cli"""

from support import (
    Program, connect, pattern, read_all, read_exactly, read_until, reset,
    run, scene, show,
)

LARGE = 8 * 1024 * 1024


def command(*args):
    """A command as clients write it."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        arg = arg if isinstance(arg, bytes) else arg.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


def cli(port, *args, input=b""):
    result = run("redis-cli", "-p", str(port), *args, input=input)
    show("redis-cli " + " ".join(args)[:40], result.stdout + result.stderr)


def redis_cli_talks(port):
    scene("redis-cli talks")
    cli(port, "PING")
    cli(port, "ECHO", "two words\r\nand a line")
    cli(port, "SET", "greeting", "grüß Gott 😀")
    cli(port, "SET", "empty", "")
    commands = """
        PING hello | GET greeting | STRLEN greeting | GET nothing | GET empty
        APPEND log one, | APPEND log two | GET log | INCR hits
        INCRBY hits 999999999999999998 | INCRBY hits 2 | DECR hits
        INCR greeting | INCRBY log 1.5 | INCRBY n -5 | DECR n | GET n
        RPUSH list c d e | LPUSH list b a | LRANGE list 0 -1 | LRANGE list 1 2
        LRANGE list -2 -1 | LRANGE list -99 99 | LRANGE list 3 1
        LRANGE list 0 -99 | LRANGE list x y | LPOP list | LPOP none | GET list
        LRANGE greeting 0 -1 | MGET greeting nothing empty | RPUSH list
        DEL greeting greeting nothing list | KEYS * | KEYS h* | constructor
        GET | GET a b | QUIT
    """.replace("|", "\n").strip()
    result = run("redis-cli", "-p", str(port), input=commands.encode())
    print(result.stdout.decode(), end="")


def redis_cli_sends_much(port):
    scene("redis-cli sends much")
    stream = b"".join(command("SET", "key:%d" % n, "v" * (n % 300)) for n in range(5_000))
    cli(port, "--pipe", input=stream)
    cli(port, "GET", "key:4999")
    cli(port, "-x", "SET", "large", input=pattern(LARGE))
    cli(port, "STRLEN", "large")
    result = run("redis-cli", "-p", str(port), "GET", "large")
    show("as it was sent", result.stdout == pattern(LARGE) + b"\n")


def large_values_arrive(port):
    scene("large values arrive as they were sent")
    sock = connect(port)
    value = pattern(LARGE, 1) + b"\r\n$3\r\n*1\r\n" + pattern(1000, 2)
    sock.sendall(command("SET", "large", value) + command("GET", "large"))
    show("SET", read_until(sock, b"\r\n"))
    show("GET", read_until(sock, b"\r\n"))
    show("value", read_exactly(sock, len(value) + 2) == value + b"\r\n")
    sock.sendall(command("APPEND", "large", value[:1000]) * 2)
    show("APPEND", read_until(sock, b"\r\n") + read_until(sock, b"\r\n"))
    sock.sendall(command("MGET", "large", "nothing", "large") + command("QUIT"))
    show("MGET and QUIT", read_all(sock))


def packets_may_split_anywhere(port):
    scene("packets may split anywhere")
    sock = connect(port)
    request = command("SET", "k\r\ney", "\r\nva\r\nlue\r\n") + command("GET", "k\r\ney")
    for place in range(1, len(request)):
        sock.sendall(request[:place])
        sock.sendall(request[place:])
    answer = b"+OK\r\n$11\r\n\r\nva\r\nlue\r\n\r\n"
    got = read_exactly(sock, len(answer) * (len(request) - 1))
    show("as expected", got == answer * (len(request) - 1))
    for byte in request:
        sock.sendall(bytes([byte]))
    show("byte by byte", read_exactly(sock, len(answer)))
    sock.close()


def a_pipeline_is_answered_in_order(port):
    scene("a pipeline is answered in order, however late the client reads")
    sock = connect(port)
    count = 20_000
    sock.sendall(b"".join(command("ECHO", str(n)) for n in range(count)))
    wanted = b"".join(b"$%d\r\n%d\r\n" % (len(str(n)), n) for n in range(count))
    show("in order", read_exactly(sock, len(wanted)) == wanted)
    scene("a pipeline that fits into no buffer of the system")
    values = [pattern(20_000, n % 7) for n in range(1_600)]
    sock.sendall(b"".join(command("ECHO", value) for value in values))
    wanted = b"".join(b"$20000\r\n%s\r\n" % value for value in values)
    show("as it was sent", read_exactly(sock, len(wanted)) == wanted)
    scene("many large answers wait for a slow client")
    sock.sendall(command("GET", "large") * 4 + command("PING"))
    show("STRLEN", run("redis-cli", "-p", str(port), "STRLEN", "large").stdout)
    sock.sendall(command("QUIT"))
    show("all", read_all(sock))


def lines_are_commands_too(port):
    scene("lines are commands, too")
    sock = connect(port)
    sock.sendall(b"PING\r\n\r\n   \r\n ECHO  spam \r\nset x 5\r\nINCR x\r\nget \r\n")
    sock.sendall(b"*0\r\n" + command("PING") + b"gr\xfc\xdfe\r\n" + b"QUIT\r\n")
    show("answers", read_all(sock))


def nonsense_is_refused(port):
    scene("nonsense is refused")
    for data in (
        b"*x\r\n",
        b"*-1\r\n",
        b"*1048577\r\n",
        b"*1\r\nPING\r\n",
        b"*2\r\n$4\r\nECHO\r\n:5\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"*1\r\n$4x\r\n",
    ):
        sock = connect(port)
        sock.sendall(command("PING") + data)
        show(repr(data), read_all(sock))
        sock.close()


def clients_that_leave(port):
    scene("clients that leave in the midst of a value")
    for leave in (lambda sock: sock.close(), reset):
        sock = connect(port)
        sock.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nz\r\n$1000\r\nabc")
        leave(sock)
        cli(port, "GET", "z")


def listeners_are_told(port):
    scene("listeners are told")
    listeners = [connect(port) for _ in range(3)]
    for sock in listeners:
        sock.sendall(command("SUBSCRIBE", "news"))
        read_exactly(sock, len(b"*2\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n"))
    cli(port, "PUBLISH", "news", "spam and eggs")
    cli(port, "PUBLISH", "sports", "nobody listens")
    for sock in listeners:
        show("listener", read_until(sock, b"eggs\r\n"))
    listeners[1].sendall(command("QUIT"))
    show("quits", read_all(listeners[1]))
    cli(port, "PUBLISH", "news", "more")
    for sock in (listeners[0], listeners[2]):
        show("listener", read_until(sock, b"more\r\n"))
        sock.close()


def main():
    with Program() as program:
        port = program.port
        redis_cli_talks(port)
        redis_cli_sends_much(port)
        large_values_arrive(port)
        packets_may_split_anywhere(port)
        a_pipeline_is_answered_in_order(port)
        lines_are_commands_too(port)
        nonsense_is_refused(port)
        clients_that_leave(port)
        listeners_are_told(port)
        scene("a command ends the server")
        sock = connect(port)
        sock.sendall(command("SHUTDOWN"))
        show("SHUTDOWN", read_all(sock))
        program.process.wait(20)
    program.show_log()


main()
