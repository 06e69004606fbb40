"""The web role: shows what this environment is and what data it sees."""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sample_app.data import Keys, database
from sample_app.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


def about(settings: Settings, keys: Keys) -> dict[str, Any]:
    """Everything that the page shows."""
    with database(settings) as cursor:
        cursor.execute("SELECT role, COUNT(*) FROM visits GROUP BY role")
        visits = {role: int(number) for role, number in cursor.fetchall()}
        cursor.execute("SELECT title FROM articles ORDER BY title")
        articles = [title for (title,) in cursor.fetchall()]
        cursor.execute("SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)")
        ((user,),) = cursor.fetchall()
    return {
        "greeting": (ROOT / "GREETING").read_text("utf-8").strip(),
        "branch": settings.branch,
        "commit": settings.commit,
        "schema": settings.schema,
        "database_user": user,
        "articles": articles,
        "redis_namespace": settings.redis_namespace,
        "redis_database": settings.redis_database,
        "redis_keys": keys.names(),
        "threads": settings.threads,
        "visits": visits.get("web", 0),
        "jobs_done_by_worker": keys.value("jobs_done"),
        "rows_written_by_worker": visits.get("worker", 0),
    }


def visit(settings: Settings, keys: Keys) -> None:
    """A row of ours and a job for the worker."""
    with database(settings) as cursor:
        cursor.execute("INSERT INTO visits (role) VALUES ('web')")
    keys.push_job("count a visit")


def page(seen: Mapping[str, Any]) -> str:
    """The same as `about`, for people. Everything is escaped: a branch name is anybody's text."""
    rows = "".join(
        f"<tr><th>{html.escape(name.replace('_', ' '))}</th><td>{html.escape(_text(value))}</td></tr>"
        for name, value in seen.items()
    )
    title = html.escape(str(seen["branch"]))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><link rel=icon href=data:,>"
        f"<title>{title}</title>"
        "<style>body{font:16px system-ui;margin:3rem}th{text-align:left;padding-right:2rem}</style>"
        f"<h1>{title}</h1><table>{rows}</table></html>"
    )


class Handler(BaseHTTPRequestHandler):
    """GET only."""

    settings: Settings
    keys: Keys

    def do_GET(self) -> None:
        """Route by path; a broken database is a 500 with its reason."""
        path = self.path.partition("?")[0]
        try:
            match path:
                case "/health":
                    self._answer(200, "text/plain", "ok\n")
                case "/":
                    visit(self.settings, self.keys)
                    self._answer(200, "text/html", page(about(self.settings, self.keys)))
                case "/about.json":
                    visit(self.settings, self.keys)
                    self._answer(200, "application/json", json.dumps(about(self.settings, self.keys)))
                case _:
                    self._answer(404, "text/plain", "not found\n")
        except Exception as error:  # the visitor of a QA environment is a colleague who wants the reason
            self._answer(500, "text/plain", f"{type(error).__name__}: {error}\n")

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Commit", self.settings.commit)
        self.end_headers()
        self.wfile.write(body)


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def main() -> None:
    """Serve until SIGTERM."""
    if (ROOT / "FAIL_START").exists():
        sys.exit("web: FAIL_START is in the repository, so this start fails")
    settings = Settings.from_environment()
    Handler.settings, Handler.keys = settings, Keys(settings)
    server = ThreadingHTTPServer((settings.host, settings.port), Handler)
    print(f"web: {settings.branch} at {settings.commit} on port {settings.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
