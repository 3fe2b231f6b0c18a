"""The AWS of the tests: moto's server on a free loopback port, with a log of the calls.

    emulator.py [--port N] [--calls FILE] [--until-stdin-closes]

Prints one line of JSON when it answers: {"endpoint": "http://127.0.0.1:PORT", "calls": FILE or null}.

Each call becomes one line of JSON in FILE before its answer is sent, so a test that has an answer finds
the line there:

    {"service": "secretsmanager", "operation": "BatchGetSecretValue", "keys": ["a", "b"],
     "accessKeyId": "AKIA...", "region": "eu-west-1", "status": 200}

keys are the names that were asked for; values, in or out, are never looked at. An AssumeRole has
"role": {"arn": "arn:aws:iam::...", "session": "...", "tags": {"namespace": "..."}} as well.
"""

import argparse
import io
import json
import os
import re
import signal
import sys
import threading
import urllib.parse

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.secretsmanager.models import SecretsManagerBackend
from werkzeug.serving import make_server

LOOPBACK = "127.0.0.1"

# The credential of a SigV4 signature: key id / date / region / service / aws4_request.
CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/[^/]*/([^/]*)/([^/]*)/")


def follow_the_label():
    """Lets reads that name no version follow AWSCURRENT, as on AWS: moto's stay with the version that was put as current."""
    move = SecretsManagerBackend.update_secret_version_stage

    def moved(self, secret_id, version_stage, remove_from_version_id, move_to_version_id):
        answer = move(self, secret_id, version_stage, remove_from_version_id, move_to_version_id)
        if version_stage == "AWSCURRENT" and move_to_version_id:
            self.secrets[secret_id].set_default_version_id(move_to_version_id)
        return answer

    SecretsManagerBackend.update_secret_version_stage = moved


class CallLog:
    """Wraps the server and writes one line a call."""

    def __init__(self, app, path):
        self.app = app
        self.file = open(path, "a", encoding="utf-8")
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        call = describe(environ, body)

        def answered(status, headers, *rest):
            call["status"] = int(status.split()[0])
            with self.lock:
                self.file.write(json.dumps(call) + "\n")
                self.file.flush()
            return start_response(status, headers, *rest)

        return self.app(environ, answered)


def describe(environ, body):
    """What a request asks for, without any value that it carries."""
    key_id, region, service = "", "", ""
    found = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    if found:
        key_id, region, service = found.groups()
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    keys, role = [], None
    if target:  # the JSON protocol: Secrets Manager
        operation = target.rpartition(".")[2]
        asked = parse_object(body)
        if isinstance(asked.get("SecretIdList"), list):
            keys = asked["SecretIdList"]
        else:
            keys = [asked[name] for name in ("SecretId", "Name") if name in asked]
    else:  # the query protocol: STS
        form = urllib.parse.parse_qs(body.decode("utf-8", "replace"))
        operation = form.get("Action", [environ.get("PATH_INFO", "")])[0]
        if operation == "AssumeRole":
            role = assumed(form)
    return {
        "service": service,
        "operation": operation,
        "keys": keys,
        "accessKeyId": key_id,
        "region": region,
        "role": role,
    }


def assumed(form):
    """Which role is asked for, and as whom."""
    one = lambda name: form.get(name, [""])[0]
    members = (f"Tags.member.{n}" for n in range(1, 51))
    tags = {one(f"{tag}.Key"): one(f"{tag}.Value") for tag in members if f"{tag}.Key" in form}
    return {"arn": one("RoleArn"), "session": one("RoleSessionName"), "tags": tags}


def parse_object(body):
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def exit_when_stdin_closes(calls):
    while sys.stdin.buffer.read(4096):
        pass
    # Whoever read the log is gone, and could not remove it if it was killed.
    if calls:
        os.unlink(calls)
    os._exit(0)


class QuietHandler(MotoRequestHandler):
    """One line a request on stderr would drown the tests' own output."""

    def log_request(self, *_):
        pass


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--port", type=int, default=0, help="default: a free one")
    arguments.add_argument("--calls", metavar="FILE", help="write each call to this file")
    arguments.add_argument("--until-stdin-closes", action="store_true", help="exit, and remove FILE, when stdin ends, so when the parent does")
    options = arguments.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if options.until_stdin_closes:
        threading.Thread(target=exit_when_stdin_closes, args=[options.calls], daemon=True).start()
    follow_the_label()
    app = DomainDispatcherApplication(create_backend_app)
    if options.calls:
        app = CallLog(app, options.calls)
    # The socket listens from here on: a client may connect before serve_forever runs.
    server = make_server(LOOPBACK, options.port, app, threaded=True, request_handler=QuietHandler)
    print(json.dumps({"endpoint": f"http://{LOOPBACK}:{server.port}", "calls": options.calls}), flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
