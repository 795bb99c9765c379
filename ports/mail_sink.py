"""Takes mail for anybody, and puts each message into a file of a folder.

    python3 -W ignore mail_sink.py FOLDER LIMIT [utf8]
"""

import asyncore
import os
import smtpd
import sys


class Session(smtpd.SMTPChannel):
    def handle_error(self):
        self.log_info("a session broke", "error")
        self.close()


class Sink(smtpd.SMTPServer):
    channel_class = Session

    def __init__(self, folder, limit, utf8):
        smtpd.SMTPServer.__init__(
            self,
            ("127.0.0.1", 0),
            None,
            data_size_limit=limit,
            enable_SMTPUTF8=utf8,
        )
        self.folder = folder
        self.count = 0

    def process_message(
        self, peer, mailfrom, rcpttos, data, mail_options=None, rcpt_options=None
    ):
        if "full@example.org" in rcpttos:
            return "452 The mailbox is full"
        if "broken@example.org" in rcpttos:
            raise OSError("The disk is broken")
        self.count += 1
        path = os.path.join(self.folder, "%d.eml" % self.count)
        with open(path, "wb") as file:
            file.write(data)
        recipients = ", ".join(rcpttos)
        options = " ".join(mail_options)
        self.log_info("%d: from %s" % (self.count, peer[0]))
        self.log_info("%d: %s -> %s" % (self.count, mailfrom, recipients))
        self.log_info("%d: %d bytes [%s]" % (self.count, len(data), options))


def main():
    folder, limit = sys.argv[1:3]
    sink = Sink(folder, int(limit), "utf8" in sys.argv)
    print("listening on %d" % sink.socket.getsockname()[1], flush=True)
    asyncore.loop()


main()
