//! An nginx of the test's own: one worker, on a free port of loopback.

use std::{fs, net::TcpStream, process::Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{
    net::{children, free_port},
    process::{Running, bound_to_us},
    temp::TempDir,
    wait_for,
};

/// Ports that are tried before nginx's failure is taken for one.
const PORTS: u32 = 3;

/// A running nginx.
#[derive(Debug)]
pub(crate) struct Nginx {
    master: Running,
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it and waits until it answers. nginx does not take port 0, and
    /// the one that was free may be taken by others meanwhile: then on the next.
    pub(crate) fn start() -> Result<Self> {
        let mut tries = 0..PORTS;
        loop {
            match Self::try_start() {
                Err(_) if tries.next().is_some() => {}
                outcome => return outcome,
            }
        }
    }

    fn try_start() -> Result<Self> {
        let folder = TempDir::new()?;
        let port = free_port()?;
        let path = folder.path().display();
        let config = format!(
            "daemon off; worker_processes 1; pid {path}/pid; error_log {path}/error.log;
             events {{ worker_connections 512; }}
             http {{
               access_log off; keepalive_requests 1000000;
               client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
               fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi;
               scgi_temp_path {path}/scgi;
               server {{ listen 127.0.0.1:{port}; return 200 hello; }}
             }}"
        );
        fs::write(folder.path().join("nginx.conf"), config)?;
        let mut command = bound_to_us("/usr/sbin/nginx");
        command
            .args(["-e", &format!("{path}/error.log"), "-c"])
            .arg(folder.path().join("nginx.conf"))
            .stdin(Stdio::null());
        let mut master = Running::start(&mut command)?;
        wait_for("nginx to listen", || {
            let ended = master.0.try_wait()?;
            let log = || fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
            ensure!(ended.is_none(), "nginx ended: {}", log());
            Ok(TcpStream::connect(("127.0.0.1", port)).ok())
        })?;
        Ok(Self {
            master,
            port,
            _folder: folder,
        })
    }

    /// Its worker's process id.
    pub(crate) fn worker(&self) -> Result<u32> {
        let workers = children(self.master.pid())?;
        workers.first().copied().context("nginx has no worker")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A killed master would leave its worker behind.
        let _ = self.master.signal(Signal::SIGTERM);
        let _ = self.master.wait();
    }
}
