"""Sends mail with smtplib and prints what the server said, as JSON.

    python3 smtp_client.py PORT several|refused
"""

import json
import smtplib
import sys
from email.message import EmailMessage

FROM = "ann@example.org"
TO = ["bob@example.org", "eve@example.org"]


def several(client):
    """Three messages in one session: a text, hard dots, and eight bits."""
    text = EmailMessage()
    text["Subject"] = "spam"
    text["From"] = FROM
    text["To"] = ", ".join(TO)
    text.set_content("Spam, eggs and spam.\n" * 3)
    refused = [client.send_message(text)]

    dots = "Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n...b\r\n \r\n.\r\nend\r\n"
    refused.append(client.sendmail(FROM, TO[:1], dots))

    eight = "Subject: acht\r\n\r\nSp\u00e4m \u20ac \U0001f99c\r\n".encode()
    refused.append(client.sendmail(FROM, TO[:1], eight, ["BODY=8BITMIME"]))
    return {"refused": refused, "features": client.esmtp_features}


def refused(client):
    """Too large, as MAIL says; too large, as it turns out; then a small one."""
    large = b"Subject: large\r\n\r\n" + b"x" * 70 * 1024 + b"\r\n"
    large *= 160
    answers = {}
    try:
        client.sendmail(FROM, TO, large)
    except smtplib.SMTPSenderRefused as error:
        answers["mail"] = error.smtp_code
    client.rset()
    client.mail(FROM)
    client.rcpt(TO[0])
    answers["data"] = client.data(large)[0]
    answers["small"] = client.sendmail(FROM, TO[0], "Subject: small\r\n\r\n")
    answers["verify"] = client.verify("bob")[0]
    answers["expn"] = client.expn("list")[0]
    answers["noop"] = client.noop()[0]
    answers["help"] = client.help().decode()
    answers["starttls"] = client.has_extn("starttls")
    return answers


def main():
    port, scenario = int(sys.argv[1]), globals()[sys.argv[2]]
    # By itself, it would ask a name server what this machine is called.
    with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=15) as client:
        client.ehlo()
        print(json.dumps(scenario(client)))


main()
