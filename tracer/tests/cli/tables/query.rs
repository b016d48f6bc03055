//! Tables, asked by SQL.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{TABLES, Temp, assert_one_line, export, tcpleak, text, v1};

fn ask(sql: &str, format: &str) -> Result<String> {
    let mut command = tcpleak(&format!("query --from {} --format {format}", v1()));
    let told = command.arg(sql).output()?;
    ensure!(told.status.success(), "{sql}: {}", text(&told.stderr)?);
    Ok(text(&told.stdout)?.to_owned())
}

fn rows(sql: &str) -> Result<Vec<Value>> {
    let lines = ask(sql, "jsonl")?;
    let rows = lines.lines().map(serde_json::from_str);
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What it says against `sql`, which is a failure of one line.
fn refused(sql: &str) -> Result<String> {
    let told = tcpleak(&format!("query --from {}", v1()))
        .arg(sql)
        .output()?;
    assert_one_line(&told, 1, sql)?;
    Ok(text(&told.stderr)?.to_owned())
}

#[test]
fn every_table_is_the_exported_one() -> Result<()> {
    let folder = Temp::new()?;
    export("jsonl", &folder.0, "")?;
    for table in TABLES {
        assert_eq!(
            rows(&format!("SELECT * FROM {table}"))?,
            super::rows(&folder.0, table)?
        );
    }
    Ok(())
}

#[test]
fn tables_are_joined_grouped_and_counted() -> Result<()> {
    let sql = "SELECT v.code, count(*) AS n, sum(c.tx_bytes) AS sent, min(c.opened_at) AS first, \
               avg(c.age_ms) AS age FROM connections c JOIN verdicts v USING (site_no) \
               WHERE c.state = 'CLOSE_WAIT' GROUP BY v.code";
    let rows = rows(sql)?;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["code"], &rows[0]["n"]),
        (&"missing-close".into(), &12.into())
    );
    assert!(rows[0]["first"].as_str().context("no time")?.ends_with('Z'));
    assert!(rows[0]["age"].is_f64());
    let table = ask(sql, "table")?;
    assert!(table.contains("missing-close  12"), "{table}");
    assert!(table.ends_with("\n1 row.\n"), "{table}");
    let csv = ask(
        "SELECT state, entered_at FROM transitions ORDER BY 2 LIMIT 2",
        "csv",
    )?;
    assert_eq!(csv.lines().count(), 3);
    let whole: Value = serde_json::from_str(&ask("SELECT 1 AS one WHERE false", "json")?)?;
    assert_eq!(whole, Value::Array(Vec::new()));
    let ids = "SELECT count(DISTINCT id) = count(*) AS apart FROM connections";
    assert_eq!(self::rows(ids)?[0]["apart"], true);
    Ok(())
}

#[test]
fn nothing_is_written_or_read_by_sql() -> Result<()> {
    let folder = Temp::new()?;
    let file = folder.0.join("a.csv");
    let path = file.display();
    for sql in [
        &format!("COPY connections TO '{path}'"),
        &format!("COPY (SELECT 1) TO '{path}' STORED AS CSV"),
        &format!("EXPLAIN ANALYZE COPY connections TO '{path}'"),
        "INSERT INTO connections SELECT * FROM connections",
        "DELETE FROM connections",
        "UPDATE sites SET live = 0",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "DROP TABLE connections",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "SET datafusion.execution.batch_size = 1",
        "PREPARE x AS SELECT 1",
    ] {
        let said = refused(sql)?;
        assert!(said.contains("can only read"), "{sql}: {said}");
    }
    for sql in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_csv('/etc/passwd')",
    ] {
        refused(sql)?;
    }
    refused("SELECT 1; SELECT 2")?;
    assert_eq!(fs::read_dir(&folder.0)?.count(), 0);
    Ok(())
}

#[test]
fn what_is_wrong_is_said_with_what_there_is() -> Result<()> {
    for (sql, parts) in [
        (
            "SELECT * FROM conections",
            ["no table conections", "connections, transitions"],
        ),
        (
            "SELECT colour FROM sites",
            ["no column colour", "call_site"],
        ),
        (
            "SELECT s.colour FROM sites s",
            ["no column colour", "call_site"],
        ),
        ("SELEC 1", ["SELEC", "query --list"]),
        (
            "SELECT nonsense(pid) FROM connections",
            ["nonsense", "query --list"],
        ),
        (
            "SELECT comm + 1 FROM connections WHERE",
            ["query --list", "Expected"],
        ),
        ("", ["query --list", ""]),
    ] {
        let said = refused(sql)?;
        assert!(
            parts.iter().all(|part| said.contains(part)),
            "{sql}: {said}"
        );
    }
    Ok(())
}
