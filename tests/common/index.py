"""A package index of a folder, on this machine: python index.py FOLDER LOG [USER:PASSWORD]. Prints its port.

Source: https://packaging.python.org/en/latest/specifications/simple-repository-api/
"""

import base64
import http.server
import os
import re
import sys

folder, log = sys.argv[1:3]
allowed = "Basic " + base64.b64encode(sys.argv[3].encode()).decode() if len(sys.argv) > 3 else None


class Index(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with open(log, "a") as lines:
            lines.write(self.path + "\n")
        if allowed and self.headers.get("Authorization") != allowed:
            return self.answer(401, b"", {"WWW-Authenticate": 'Basic realm="index"'})
        kind, _, name = self.path.strip("/").partition("/")
        path = os.path.join(folder, name)
        if kind == "files" and os.path.isfile(path):
            return self.answer(200, open(path, "rb").read(), {"Content-Type": "application/octet-stream"})
        normalized = lambda file: re.sub("[-_.]+", "-", file.split("-")[0]).lower()
        files = [file for file in sorted(os.listdir(folder)) if kind == "simple" and normalized(file) == name]
        page = "".join(f'<a href="/files/{file}">{file}</a>\n' for file in files)
        self.answer(200 if files else 404, page.encode(), {"Content-Type": "text/html"})

    do_HEAD = do_GET

    def answer(self, code, body, headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
print(server.server_port, flush=True)
server.serve_forever()
