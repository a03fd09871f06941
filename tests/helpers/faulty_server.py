"""An HTTP server on this machine that fails in every way a server can."""

import http.server
import re
import threading


class Server:
    """Serves `files`; the first requests meet the faults in `faults`, one each.

    A fault is an HTTP status, 'silent' (no answer), 'drip' (single bytes), 'cut' (half the body),
    'wrong range', or 'garbage'.
    """

    def __init__(self):
        self.files, self.faults, self.requests = {}, [], []
        self.ranges, self.delay = True, 0.0
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
        wanted = handler.headers.get("Range")
        self.requests.append((handler.path, wanted))
        fault = self.faults.pop(0) if self.faults else None
        body = self.files.get(handler.path.lstrip("/"))
        self.stopped.wait(self.delay)
        if fault == "silent":
            self.stopped.wait(5)
            return
        if isinstance(fault, int) or body is None:
            handler.send_error(fault or 404)
            return
        start = int(re.match(r"bytes=(\d+)-", wanted).group(1)) if wanted and self.ranges else 0
        if wanted and self.ranges and start >= len(body):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(body)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        self.send(handler, body, start, fault, partial=bool(wanted and self.ranges))

    def send(self, handler, body, start, fault, partial):
        rest = body[start:]
        handler.send_response(206 if partial else 200)
        if partial:
            said = start + 1 if fault == "wrong range" else start
            handler.send_header("Content-Range", f"bytes {said}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        if fault == "drip":
            for i in range(100):
                handler.wfile.write(rest[i : i + 1])
                if self.stopped.wait(0.05):
                    return
        elif fault == "cut":
            handler.wfile.write(rest[: len(rest) // 2])
        elif fault == "garbage":
            handler.wfile.write(bytes(len(rest)))
        else:
            handler.wfile.write(rest)
