//! A page for browsers: noVNC of Debian's package, served from this machine.

use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::thread;

use anyhow::{Result, anyhow};
use tiny_http::{Header, Method, Request, Response, Server};

/// Where the package `novnc` lies.
const FOLDER: &str = "/usr/share/novnc";

/// Serves the page, for a VNC server whose WebSocket is at this port of this machine. Gives the page's address.
pub fn serve(websocket: u16, password: &str) -> Result<String> {
    let server = Server::http(("127.0.0.1", 0)).map_err(|error| anyhow!("cannot serve a page: {error}"))?;
    let port = server.server_addr().to_ip().map_or(0, |address| address.port());
    thread::spawn(move || {
        for request in server.incoming_requests() {
            // A browser that has gone needs no answer.
            let _ = answer(request);
        }
    });
    Ok(format!(
        "http://127.0.0.1:{port}/vnc.html?host=127.0.0.1&port={websocket}&password={password}&autoconnect=true&resize=scale"
    ))
}

fn answer(request: Request) -> std::io::Result<()> {
    let file = match request.method() {
        Method::Get => path(request.url()).and_then(|path| Some((File::open(&path).ok()?, kind(&path)))),
        _ => None,
    };
    match file {
        Some((file, kind)) => {
            let header = Header::from_bytes("Content-Type", kind).map_err(|()| std::io::ErrorKind::InvalidData)?;
            request.respond(Response::from_file(file).with_header(header))
        }
        None => request.respond(Response::from_string("there is no such file").with_status_code(404)),
    }
}

/// The file of a request; nothing outside of the folder.
fn path(url: &str) -> Option<PathBuf> {
    let name = url.split(['?', '#']).next()?.trim_start_matches('/');
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
        assert_eq!(path("/vnc.html?port=1"), Some(PathBuf::from("/usr/share/novnc/vnc.html")));
        assert_eq!(path("/core/rfb.js"), Some(PathBuf::from("/usr/share/novnc/core/rfb.js")));
        assert_eq!(path("/../../../etc/passwd"), None);
        assert_eq!(path("//etc/passwd"), Some(PathBuf::from("/usr/share/novnc/etc/passwd")));
    }
}
