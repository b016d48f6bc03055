//! The command line: one definition of each flag.
#![allow(missing_docs, reason = "a doc comment here becomes help text")]

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::values;
use crate::{
    check::allow::Allow,
    view::{CheckFormat, TableFormat, TimelineFormat},
};

mod shared;

pub use shared::{OutputArgs, PlanArg, ProbeArgs, RecordingArgs, SelectionArgs, Switch};

/// Help fits the narrowest terminal, and does not change with its width in a pipe.
const HELP_WIDTH: usize = 80;

/// Finds TCP connections that never close and sockets stuck in wait states, and
/// names who must act: the process, the file descriptor, since when, and why.
///
/// Without a command: `tcpleak leaks`.
#[derive(Debug, Parser)]
#[command(
    name = "tcpleak",
    version,
    args_conflicts_with_subcommands = true,
    max_term_width = HELP_WIDTH
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// For `tcpleak` alone.
    #[command(flatten)]
    pub leaks: LeaksArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch for a while, then report leaked and stuck connections, worst first
    #[command(after_help = LEAKS_HELP)]
    Leaks(LeaksArgs),
    /// Stream lifecycle events as they happen, until Ctrl-C or --for
    #[command(after_help = TRACE_HELP)]
    Trace(TraceArgs),
    /// List connections open now: owner, state, idle time, queues, bytes
    #[command(after_help = PS_HELP)]
    Ps(PsArgs),
    /// Draw what each connection did over time
    #[command(after_help = TIMELINE_HELP)]
    Timeline(TimelineArgs),
    /// Record what happens, for leaks, trace and ps to read later: --from FILE
    #[command(after_help = RECORD_HELP)]
    Record(RecordArgs),
    /// Write a recording as tables: connections, transitions, sites, verdicts
    #[command(after_help = EXPORT_HELP)]
    Export(ExportArgs),
    /// Ask a recording's tables by SQL
    #[command(after_help = QUERY_HELP)]
    Query(QueryArgs),
    /// Run a command, and fail if it or what it starts leaks connections
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Explain a verdict: its cause, how it is recognised, how to fix it
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArgs),
    /// Say what this host supports, what would be used, and what is missing
    Doctor(DoctorArgs),
    /// Read symbols for the collector, which starts this itself
    #[command(hide = true)]
    SymbolHelper,
    /// Wait for the collector's word, then become a command
    #[command(hide = true)]
    Held(HeldArgs),
}

const LEAKS_HELP: &str = "\
Examples:
  tcpleak leaks                            watch the whole host for a minute
  tcpleak leaks --for 10m --pid 4242       watch one process for ten minutes
  tcpleak leaks --for 2m --fail-on leak    exit with 3 if something leaks
  tcpleak leaks --from FILE                what `tcpleak record` saw
  tcpleak leaks --html report.html         and a page to hand over

Exit codes:
  0 fine, 1 could not run, 2 wrong usage, 3 leaks found (--fail-on leak)";

const TRACE_HELP: &str = "\
Examples:
  tcpleak trace --port 5432                what happens on PostgreSQL's port
  tcpleak trace --format jsonl | jq .      one JSON object a line";

const PS_HELP: &str = "\
Examples:
  tcpleak ps --comm nginx                  what nginx has open
  tcpleak ps --from FILE --at 03:12:00     what was open then";

const TIMELINE_HELP: &str = "\
Examples:
  tcpleak timeline --pid 4242 --for 30s    what its connections do
  tcpleak timeline --port 5432 --from FILE what they did then
  tcpleak timeline --site client.go:42     what that code opened
  tcpleak timeline --html timeline.html    in a browser";

const RECORD_HELP: &str = "\
Examples:
  tcpleak record -o trace.tcpleak          until Ctrl-C
  tcpleak record -o DIR --max-size 100MiB --rotate 20    the newest 2 GB
  tcpleak leaks --from trace.tcpleak       anywhere, without privileges

What is recorded says who talked to whom, and names programs and functions; it
holds no payload. The files are readable by their owner only.";

const EXPORT_HELP: &str = "\
Examples:
  tcpleak export --from FILE --format parquet -o DIR    for DuckDB, pandas, ...
  tcpleak export --from FILE --format csv -o DIR --port 5432

`tcpleak query --list` says what the tables hold. Parquet needs a tcpleak that
was built with the feature `tables`.";

const QUERY_HELP: &str = "\
Examples:
  tcpleak query --list                     the tables and their columns
  tcpleak query --from FILE 'SELECT comm, state, count(*) FROM connections
      GROUP BY comm, state ORDER BY 3 DESC'

Nothing can be written by SQL, and no file be read. Needs a tcpleak that was
built with the feature `query`.";

const CHECK_HELP: &str = "\
A connection leaks when no program closed it before its process ended (or, in a
process that lives on, before the command ended), and
- the peer had hung up or reset it, or the program had shut it down, for the
  grace time or longer; or
- it lay unused for the grace time or longer when the same code opened another
  one to the same place, and so did two more: a pool would have used them again;
  or
- it was still being opened after the grace time, without an answer.
What else only the end of a process closed, such as the idle connections of a
pool, is reported and does not fail the run, but with --strict. So is what an
idle pool of urllib3, httpcore or botocore keeps after its peer has hung up. What
a Python interpreter closes as it ends counts as closed by the end.

A pattern of --allow matches the whole of: the process's name; the other end,
with or without its port; the verdict's code; or, of any function on the call
stack, its name, its file, or file:line. * is any text, ? any character.

Examples:
  tcpleak check -- go test -count=1 ./...      run, not cached
  tcpleak check --format junit -o leaks.xml -- python3 -m pytest
  tcpleak check --allow '10.0.0.7:5432' -- cargo test
  sudo tcpleak check -- runuser -u \"$USER\" -- make test    as yourself

Exit codes: 3 if connections leaked, else the command's own (128 and the
signal's number where one killed it); 1 if it could not be run or traced,
2 wrong usage";

const EXPLAIN_HELP: &str = "\
Examples:
  tcpleak explain missing-close            what it means, and the fix
  tcpleak explain --list                   all verdicts";

/// `leaks`
#[derive(Clone, Debug, Args)]
pub struct LeaksArgs {
    /// How long to watch, such as 30s, 5m or 1h30m
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = values::duration, allow_hyphen_values = true)]
    pub watch: Duration,
    /// Exit with 3 when there is a finding of this kind
    #[arg(long, value_name = "KIND")]
    pub fail_on: Option<FailOn>,
    /// Show healthy sites, and those too young to tell, as well
    #[arg(long)]
    pub all: bool,
    /// Show the evidence of each verdict, and what the plan cannot see
    #[arg(long, short)]
    pub verbose: bool,
    #[command(flatten)]
    pub recording: RecordingArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Write a page to hand over to this file as well: the report, with charts and
    /// the timeline of each connection
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub probe: ProbeArgs,
}

/// `timeline`
#[derive(Clone, Debug, Args)]
pub struct TimelineArgs {
    /// How long to watch, such as 30s, 5m or 1h30m
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = values::duration, allow_hyphen_values = true)]
    pub watch: Duration,
    /// Only this connection: its ID as `ps`, `trace` and `leaks` give it in JSON
    #[arg(value_name = "ID")]
    pub connection: Option<String>,
    /// Only those opened or accepted by this code: a part of its function, file or
    /// line, or the id of a site
    #[arg(long, value_name = "CODE")]
    pub site: Option<String>,
    /// Show every connection, where many come from the same code
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub recording: RecordingArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// How to write it
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        help_heading = "Output"
    )]
    pub format: TimelineFormat,
    /// Write to this file instead of the terminal
    #[arg(long, short, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Write a page to this file as well, with zoom, filter and the report of `leaks`
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
    /// Write a picture to this file as well
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub svg: Option<PathBuf>,
    /// Write a trace for ui.perfetto.dev or chrome://tracing to this file as well
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub perfetto: Option<PathBuf>,
    #[command(flatten)]
    pub probe: ProbeArgs,
}

/// `export`
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The recording, a file or folder
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// How to write them
    #[arg(long, value_name = "FORMAT")]
    pub format: TableFormat,
    /// Write a file for each table to this folder
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    #[command(flatten)]
    pub selection: SelectionArgs,
}

/// `query`
#[derive(Clone, Debug, Args)]
pub struct QueryArgs {
    /// The recording, a file or folder
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    pub from: Option<PathBuf>,
    /// What to ask, such as 'SELECT * FROM sites'
    #[arg(value_name = "SQL", required_unless_present = "list")]
    pub sql: Option<String>,
    /// List the tables and their columns
    #[arg(long, conflicts_with_all = ["from", "sql"])]
    pub list: bool,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `record`
#[derive(Clone, Debug, Args)]
pub struct RecordArgs {
    /// Write to this file; with --rotate to this folder
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Stop after this long, such as 30s or 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration, allow_hyphen_values = true)]
    pub watch: Option<Duration>,
    /// Stop when the file is about this large; with --rotate begin the next
    #[arg(long, value_name = "SIZE", value_parser = values::file_size)]
    pub max_size: Option<u64>,
    /// Write a folder of files of --max-size, and keep the newest so many
    #[arg(long, value_name = "COUNT", requires = "max_size", value_parser = clap::value_parser!(u16).range(1..))]
    pub rotate: Option<u16>,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub probe: ProbeArgs,
}

/// What `--fail-on` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Connections that the local program should have closed
    Leak,
}

/// `trace`
#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    /// Stop after this long, such as 30s or 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration, allow_hyphen_values = true)]
    pub watch: Option<Duration>,
    #[command(flatten)]
    pub recording: RecordingArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub probe: ProbeArgs,
}

/// `check`
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Let pass what matches this pattern; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub allow: Vec<Allow>,
    /// How long a connection may be left before that counts as a leak
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = values::grace, allow_hyphen_values = true)]
    pub grace: Duration,
    /// Fail as well for connections that only the end of a process closed
    #[arg(long)]
    pub strict: bool,
    /// Show whole call stacks, and what the plan cannot see
    #[arg(long, short)]
    pub verbose: bool,
    /// How to write the report
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        help_heading = "Output"
    )]
    pub format: CheckFormat,
    /// Write the report to this file instead of standard error
    #[arg(long, short, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub probe: ProbeArgs,
    /// The command to run, and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Ours, for `check`.
#[derive(Clone, Debug, Args)]
pub struct HeldArgs {
    /// Pipe that brings the word to go.
    pub go: i32,
    /// Pipe that takes why the command cannot be run.
    pub failed: i32,
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// `ps`
#[derive(Clone, Debug, Args)]
pub struct PsArgs {
    /// List what was open at the end of this recording, a file or folder
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// List what was open then: an instant, or a time of day, of the recording
    #[arg(long, value_name = "TIME", requires = "from")]
    pub at: Option<String>,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `explain`
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// Name of the verdict, as in a report
    #[arg(value_name = "CODE", required_unless_present = "list")]
    pub code: Option<String>,
    /// List all verdicts, in a line each
    #[arg(long, conflicts_with = "code")]
    pub list: bool,
}

/// `doctor`
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub probe: ProbeArgs,
}
