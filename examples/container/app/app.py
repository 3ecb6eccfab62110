"""A web application that says which Flask answers, and where from."""

import importlib.metadata
import os
from wsgiref.simple_server import make_server

import flask

app = flask.Flask(__name__)


@app.get("/")
def hello():
    return {"flask": importlib.metadata.version("flask"), "from": os.path.realpath(flask.__file__)}


if __name__ == "__main__":
    make_server("", int(os.environ.get("PORT", "8000")), app).serve_forever()
