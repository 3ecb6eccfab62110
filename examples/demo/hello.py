"""Uses three distributions that the mount brings."""

import flask
import requests
import rich.console

app = flask.Flask("demo")


@app.get("/")
def hello():
    return {"requests": requests.__version__}


rich.console.Console().print("[bold]flask answers:[/bold]", app.test_client().get("/").json)
print("rich comes from", rich.__file__)
