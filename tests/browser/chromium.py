"""A headless Chromium, driven through its debugging protocol."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request

import websocket

FLAGS = [
    # Chromium no longer falls back to software for WebGL by itself, which scenes in space need.
    "--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-quic", "--no-first-run",
    # Frames of other ports stay in the process of their page, where scripts can be run in them.
    "--disable-site-isolation-trials", "--disable-features=OriginKeyedProcessesByDefault,IsolateOrigins,site-per-process",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--mute-audio", "--remote-debugging-port=0", "--remote-allow-origins=*",
    "--window-size=1400,1000",
]


class Chromium:
    def __init__(self):
        program = next(
            filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
        )
        if program is None:
            raise RuntimeError("Chromium is not installed: apt-get install chromium")
        self.profile = tempfile.mkdtemp(prefix="eigenlens-chromium-")
        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self.profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        port = self._port()
        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
        target = next(page for page in pages if page["type"] == "page")
        self.socket = websocket.create_connection(target["webSocketDebuggerUrl"], timeout=180)
        self.number = 0
        self.requests = []
        # What pages complained of: exceptions, errors of the console, broken policies.
        self.complaints = []
        # Where scripts of a page run, and of what it embeds: the number of each by its origin.
        self.contexts = {}
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _port(self):
        path = os.path.join(self.profile, "DevToolsActivePort")
        for _ in range(300):
            try:
                with open(path) as file:
                    return int(file.readline())
            except (OSError, ValueError):
                time.sleep(0.1)
        raise RuntimeError("Chromium did not start")

    def call(self, method, **params):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            elif message.get("method") == "Runtime.executionContextCreated":
                context = message["params"]["context"]
                self.contexts[context["origin"]] = context["uniqueId"]
            elif message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(message["params"]["exceptionDetails"])
            elif message.get("method") == "Log.entryAdded":
                entry = message["params"]["entry"]
                if entry["level"] == "error":
                    self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
            elif message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)

    def evaluate(self, script, origin=None):
        """The value of `script`, in the page or in a frame of it from `origin`; none if that is not there yet."""
        if origin is not None and origin not in self.contexts:
            # What happened meanwhile comes with an answer.
            self.call("Runtime.evaluate", expression="0")
            return None
        more = {} if origin is None else {"uniqueContextId": self.contexts[origin]}
        result = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, **more
        )
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def wait(self, script, seconds, what, origin=None):
        """Waits until `script` is true, and returns its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.evaluate(script, origin)
            if value:
                return value
            time.sleep(0.5)
        raise TimeoutError(f"{what} did not happen within {seconds} s")

    def press(self, key, **more):
        """Presses a key such as `ArrowDown` or `g`."""
        text = key if len(key) == 1 else None
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, **more}
            if text and kind == "keyDown":
                event["text"] = text
            self.call("Input.dispatchKeyEvent", **event)

    def look(self, width, height, scheme):
        """Makes the window so large, and light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=20)
        shutil.rmtree(self.profile, ignore_errors=True)
