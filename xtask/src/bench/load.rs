//! The load: nginx and wrk on loopback, a new connection for every request.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{command, place};

/// Connections at a time.
const AT_A_TIME: &str = "64";

/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server under test.
pub(crate) struct Server {
    nginx: Child,
    port: u16,
}

/// What the load came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Requests answered, a connection each
    pub(crate) requests: u64,
    /// The same in a second
    pub(crate) per_second: f64,
}

impl Server {
    /// Starts one on a free port of loopback.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let config = folder.join("nginx.conf");
        fs::write(&config, configuration(folder, port))?;
        let program = place::find("nginx").context("no nginx")?;
        let nginx = Command::new(program)
            .arg("-c")
            .arg(&config)
            .arg("-p")
            .arg(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start nginx")?;
        let server = Self { nginx, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || fs::read_to_string(folder.join("error.log")).unwrap_or_default();
            ensure!(
                began.elapsed() < PATIENCE,
                "nginx does not answer: {}",
                log()
            );
            sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Asks it as fast as it answers.
    pub(crate) fn load(&self, lasts: Duration) -> Result<Load> {
        let mut wrk = Command::new(place::find("wrk").context("no wrk")?);
        wrk.args(["-t1", "-c", AT_A_TIME, "-H", "Connection: close"])
            .arg(format!("-d{}s", lasts.as_secs()))
            .arg(format!("http://127.0.0.1:{}/", self.port));
        let said = command::output(&mut wrk)?;
        read(&said).with_context(|| format!("cannot read what wrk said: {said}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.nginx.kill();
        let _ = self.nginx.wait();
    }
}

/// One process that serves, so that it ends with the one that was started.
fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {folder}/body;\n\
         server {{ listen 127.0.0.1:{port} backlog=4096;\n\
         location / {{ return 200 \"fine\\n\"; }} }} }}\n"
    )
}

/// `110022 requests in 3.00s, ...` and `Requests/sec:  36674.00`.
fn read(said: &str) -> Option<Load> {
    let total = said.lines().find(|line| line.contains(" requests in "))?;
    let rate = said
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))?;
    Some(Load {
        requests: total.split_whitespace().next()?.parse().ok()?,
        per_second: rate.trim().parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Load, read};

    #[test]
    fn what_wrk_says_is_read() {
        let said = "Running 3s test\n  110022 requests in 3.00s, 17MB read\n\
                    Requests/sec:  36674.00\nTransfer/sec: 5MB\n";
        let load = Load {
            requests: 110_022,
            per_second: 36_674.0,
        };
        assert_eq!(read(said), Some(load));
        assert_eq!(read("unable to connect"), None);
    }
}
