//! A page for browsers: noVNC of Debian's package, served from this machine by what the stub domain answers browsers with.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result};
use web::http::{BadRequest, Head, Request, Status, response};

/// Where the package `novnc` lies.
const FOLDER: &str = "/usr/share/novnc";

/// Serves the page, for a VNC server whose WebSocket is at this port of this machine. Gives the page's address.
pub fn serve(websocket: u16, password: &str) -> Result<String> {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot serve a page")?;
    let port = server.local_addr()?.port();
    thread::spawn(move || {
        for browser in server.incoming().flatten() {
            // One that has gone needs no answer.
            thread::spawn(move || answer(browser));
        }
    });
    Ok(format!(
        "http://127.0.0.1:{port}/vnc.html?host=127.0.0.1&port={websocket}&password={password}&autoconnect=true&resize=scale"
    ))
}

/// One request, and the answer to it.
fn answer(mut browser: TcpStream) -> std::io::Result<()> {
    let (mut head, mut bytes) = (Head::new(), [0; 1024]);
    let answer = loop {
        let count = browser.read(&mut bytes)?;
        match head.feed(&bytes[..count]) {
            Ok(None) if count > 0 => {}
            Ok(None) => return Ok(()),
            Ok(Some((request, _))) => break file(&request).unwrap_or_else(|| BadRequest::NotFound.response()),
            Err(refusal) => break refusal.response(),
        }
    };
    browser.write_all(&answer)
}

fn file(request: &Request) -> Option<Vec<u8>> {
    let path = path(&request.path)?;
    Some(response(Status::Ok, kind(&path), &fs::read(&path).ok()?))
}

/// The file of a request; nothing outside of the folder.
fn path(path: &str) -> Option<PathBuf> {
    let name = path.trim_start_matches('/');
    let is_inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    is_inside.then(|| Path::new(FOLDER).join(name))
}

fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_out_of_one_folder() {
        assert_eq!(path("/vnc.html"), Some(PathBuf::from("/usr/share/novnc/vnc.html")));
        assert_eq!(path("/core/rfb.js"), Some(PathBuf::from("/usr/share/novnc/core/rfb.js")));
        assert_eq!(path("/../../../etc/passwd"), None);
        assert_eq!(path("//etc/passwd"), Some(PathBuf::from("/usr/share/novnc/etc/passwd")));
    }
}
