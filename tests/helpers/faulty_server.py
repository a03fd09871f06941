"""An HTTP server on this machine that fails in every way a server can."""

import http.server
import threading


class Server:
    """Serves `files`; the first requests meet the faults in `faults`, one each.

    A fault is an HTTP status, 'silent' (no answer), 'cut' (half the body, then the end), 'stall'
    (half the body, then nothing), or 'garbage'.
    """

    def __init__(self):
        self.files, self.faults, self.requests, self.delay = {}, [], [], 0.0
        self.stopped = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self):
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, handler):
        self.requests.append(handler.path)
        fault = self.faults.pop(0) if self.faults else None
        body = self.files.get(handler.path.lstrip("/"))
        self.stopped.wait(self.delay)
        if fault == "silent":
            self.stopped.wait(5)
            return
        if isinstance(fault, int) or body is None:
            handler.send_error(fault or 404)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if fault in ("cut", "stall"):
            handler.wfile.write(body[: len(body) // 2])
            if fault == "stall":
                self.stopped.wait(5)
        elif fault == "garbage":
            handler.wfile.write(bytes(len(body)))
        else:
            handler.wfile.write(body)
