"""Other programs read what `tcpleak export` writes, and come to what `tcpleak query` says.

tables.py TCPLEAK RECORDING
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import chdb
import pyarrow
import pyarrow.compute
import pyarrow.parquet

TABLES = ["connections", "transitions", "sites", "verdicts"]
FIGURES = (
    "count(*) AS connections, sum(tx_bytes) AS tx_bytes, sum(rx_bytes) AS rx_bytes"
)
STATES = "SELECT state, count(*) AS n FROM {connections} GROUP BY state ORDER BY state"


def tcpleak(*arguments):
    run = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"tcpleak {' '.join(arguments)}: {run.stderr}")
    return run.stdout


def asked(sql):
    """What tcpleak's own engine says."""
    told = tcpleak("query", "--from", RECORDING, "--format", "json", sql)
    return json.loads(told)


def clickhouse(sql):
    settings = " SETTINGS output_format_json_quote_64bit_integers = 0"
    told = chdb.query(sql + settings, "JSONEachRow").bytes().decode()
    return [json.loads(line) for line in told.splitlines()]


def same(what, ours, theirs):
    if ours != theirs:
        sys.exit(f"{what}: tcpleak says {ours}, not {theirs}")


def micros(table, name):
    """The first and last instant of a column, in microseconds."""
    least_most = pyarrow.compute.min_max(table[name])
    return [least_most[end].value for end in ("min", "max")]


def main(folder):
    for form in ("parquet", "jsonl"):
        tcpleak("export", "--from", RECORDING, "--format", form, "-o", str(folder))
    files = {name: folder / f"{name}.parquet" for name in TABLES}
    arrow = {name: pyarrow.parquet.read_table(file) for name, file in files.items()}
    there = {name: f"file('{file}', Parquet)" for name, file in files.items()}

    for name in TABLES:
        rows = (folder / f"{name}.jsonl").read_text().splitlines()
        ours = asked(f"SELECT count(*) AS n FROM {name}")
        same(f"rows of {name} as lines", ours, [{"n": len(rows)}])
        same(f"rows of {name} by pyarrow", ours, [{"n": arrow[name].num_rows}])
        same(
            f"rows of {name} by ClickHouse",
            ours,
            clickhouse(f"SELECT count(*) AS n FROM {there[name]}"),
        )
        names = list(json.loads(rows[0]))
        same(f"columns of {name} by pyarrow", names, arrow[name].column_names)

    connections = arrow["connections"]
    ours = asked(f"SELECT {FIGURES} FROM connections")
    theirs = {
        "connections": connections.num_rows,
        "tx_bytes": pyarrow.compute.sum(connections["tx_bytes"]).as_py(),
        "rx_bytes": pyarrow.compute.sum(connections["rx_bytes"]).as_py(),
    }
    same("figures by pyarrow", ours, [theirs])
    told = clickhouse(f"SELECT {FIGURES} FROM {there['connections']}")
    same("figures by ClickHouse", ours, told)

    ours = asked(STATES.format(connections="connections"))
    counts = connections.group_by("state").aggregate([("state", "count")])
    theirs = [
        {"state": row["state"], "n": row["state_count"]}
        for row in counts.sort_by("state").to_pylist()
    ]
    same("states by pyarrow", ours, theirs)
    told = clickhouse(STATES.format(connections=there["connections"]))
    same("states by ClickHouse", ours, told)

    span = "SELECT min(opened_at) AS first, max(opened_at) AS last FROM connections"
    cast = ", ".join(
        f"to_unixtime({end}) * 1000000 + CAST(date_part('microsecond', {end}) AS BIGINT) "
        f"% 1000000 AS {end}"
        for end in ("first", "last")
    )
    ours = asked(f"SELECT {cast} FROM ({span})")
    first, last = micros(connections, "opened_at")
    same("instants by pyarrow", ours, [{"first": first, "last": last}])
    told = clickhouse(
        "SELECT toUnixTimestamp64Micro(min(opened_at)) AS first, "
        f"toUnixTimestamp64Micro(max(opened_at)) AS last FROM {there['connections']}"
    )
    same("instants by ClickHouse", ours, told)

    field = arrow["connections"].schema.field("tx_bytes")
    same("unit of tx_bytes", b"bytes", field.metadata[b"unit"])
    kind = arrow["connections"].schema.field("opened_at").type
    same("type of opened_at", pyarrow.timestamp("us", tz="UTC"), kind)

    joined = clickhouse(
        "SELECT code, count(*) AS n FROM {connections} AS c JOIN {verdicts} AS v "
        "ON c.site_no = v.site_no WHERE is_open GROUP BY code ORDER BY code".format(**there)
    )
    ours = asked(
        "SELECT verdict AS code, count(*) AS n FROM connections WHERE is_open "
        "GROUP BY verdict ORDER BY verdict"
    )
    same("verdicts by ClickHouse", ours, joined)
    print(
        f"pyarrow {pyarrow.__version__} and ClickHouse (chdb {chdb.__version__}) read "
        f"{connections.num_rows} connections as tcpleak does"
    )


if __name__ == "__main__":
    PROGRAM, RECORDING = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
