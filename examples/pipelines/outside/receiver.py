"""The service that invoice.yaml calls: it finds an invoice's number and total in the
lines of its text. Nothing but Python's standard library.

    python3 receiver.py [PORT]
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NUMBER = re.compile(r"Invoice No\.?\s*([0-9-]+)")
TOTAL = re.compile(r"Total:?\s*\$?([0-9,]+\.[0-9]{2})")


def fields(lines):
    """What an invoice says, None where it does not."""
    text = "\n".join(lines)
    number, total = NUMBER.search(text), TOTAL.search(text)
    return {
        "number": number and number[1],
        "total": total and float(total[1].replace(",", "")),
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            answer = fields(json.loads(body)["lines"])
        except (ValueError, KeyError, TypeError):
            # A 4xx is final. With 503 the platform would try again, and with
            # Retry-After no sooner than that.
            return self.answer(400, {"title": "expected {\"lines\": [TEXT, ...]}", "status": 400}, "application/problem+json")
        # A step may come more than once: its key is the same then. Whoever does
        # something here that must happen once keeps the keys.
        self.log_message("%s: %s", self.headers.get("Idempotency-Key"), answer)
        self.answer(200, answer, "application/json")

    def answer(self, status, value, content_type):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8091
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
