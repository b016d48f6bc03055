//! Chromium without a screen, by WebDriver.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use fantoccini::{
    Client, ClientBuilder,
    actions::{InputSource as _, MOUSE_BUTTON_LEFT, MouseActions, PointerAction},
    elements::Element,
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::runtime::{self, Runtime};

use super::process::Running;

/// A browser with one page; it ends with the test.
pub(crate) struct Browser {
    runtime: Runtime,
    client: Client,
    _driver: Running,
    _home: TempDir,
}

/// Root has no sandbox there, and nothing is to be asked of a network.
const OPTIONS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--proxy-server=127.0.0.1:9",
    "--window-size=1400,1000",
];

/// So often it is tried.
const STARTS: usize = 5;

impl Browser {
    /// Starts it.
    pub(crate) fn start() -> Result<Self> {
        let home = TempDir::new()?;
        let (driver, port) = driver(home.path())?;
        let profile = format!("--user-data-dir={}", home.path().join("profile").display());
        let options: Vec<&str> = OPTIONS.into_iter().chain([&*profile]).collect();
        let mut wants = Map::new();
        wants.insert("goog:chromeOptions".to_owned(), json!({ "args": options }));
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = runtime.block_on(
            ClientBuilder::new(HttpConnector::new())
                .capabilities(wants)
                .connect(&format!("http://127.0.0.1:{port}")),
        )?;
        Ok(Self {
            runtime,
            client,
            _driver: driver,
            _home: home,
        })
    }

    /// Opens a file.
    pub(crate) fn open(&self, path: &Path) -> Result<()> {
        let address = format!("file://{}", path.display());
        Ok(self.runtime.block_on(self.client.goto(&address))?)
    }

    /// What an expression is on the page.
    pub(crate) fn value(&self, expression: &str) -> Result<Value> {
        let script = format!("return {expression}");
        let value = self.runtime.block_on(self.client.execute(&script, vec![]));
        value.with_context(|| expression.to_owned())
    }

    /// As [`Browser::value`], a number.
    pub(crate) fn number(&self, expression: &str) -> Result<f64> {
        let value = self.value(expression)?;
        let number = value.as_f64();
        number.with_context(|| format!("{expression} is {value}"))
    }

    /// As [`Browser::value`], text.
    pub(crate) fn text(&self, expression: &str) -> Result<String> {
        let value = self.value(expression)?;
        let text = value.as_str().map(str::to_owned);
        text.with_context(|| format!("{expression} is {value}"))
    }

    /// Presses keys, wherever the focus is.
    pub(crate) fn press(&self, keys: &str) -> Result<()> {
        self.runtime.block_on(async {
            let focused: Element = self.client.active_element().await?;
            Ok(focused.send_keys(keys).await?)
        })
    }

    /// Drags the mouse from one point of the window to another.
    pub(crate) fn drag(&self, from: (f64, f64), to: (f64, f64)) -> Result<()> {
        let point = |(x, y)| PointerAction::MoveTo {
            duration: None,
            x,
            y,
        };
        let button = MOUSE_BUTTON_LEFT;
        let actions = MouseActions::new("mouse".to_owned())
            .then(point(from))
            .then(PointerAction::Down { button })
            .then(point(to))
            .then(PointerAction::Up { button });
        Ok(self
            .runtime
            .block_on(self.client.perform_actions(actions))?)
    }

    /// Moves the mouse there.
    pub(crate) fn point(&self, (x, y): (f64, f64)) -> Result<()> {
        let actions = MouseActions::new("mouse".to_owned()).then(PointerAction::MoveTo {
            duration: None,
            x,
            y,
        });
        Ok(self
            .runtime
            .block_on(self.client.perform_actions(actions))?)
    }
}

/// A chromedriver, and its port. The port that it finds for itself may be taken by then.
fn driver(home: &Path) -> Result<(Running, u16)> {
    let mut said = String::new();
    for _ in 0..STARTS {
        // In a pid namespace of its own: all of it ends with the first of it.
        let mut driver = Running::start(
            Command::new("unshare")
                .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
                .args(["chromedriver", "--port=0"])
                .env("HOME", home)
                .env("TMPDIR", home)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        )?;
        let says = driver.0.stdout.take().context("no pipe")?;
        for line in BufReader::new(says).lines() {
            let line = line?;
            if let Some((_, port)) = line.split_once("successfully on port ") {
                return Ok((driver, port.trim_end_matches('.').parse()?));
            }
            said = line;
        }
    }
    bail!("chromedriver does not start: {said}")
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.client.clone().close());
    }
}
