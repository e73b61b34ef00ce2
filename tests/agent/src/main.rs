//! Serves the machine that runs the testbed: one request per connection, on the port that is the only argument.
//!
//! A request is one line, then a body of as many bytes as that line says:
//!
//! - `exec LENGTH`: runs a script; answers `STATUS STDOUT-LENGTH STDERR-LENGTH`, then both outputs
//! - `stream LENGTH`: runs a script with its standard output and error on the connection
//! - `put LENGTH PATH`: writes a file whose content comes gzipped, zeros as holes; answers `STATUS`
//! - `get PATH`: answers `STATUS LENGTH`, then the file
//! - `forward ADDRESS`: joins the connection to a socat address
//!
//! It is a program and no script because starting programs is what takes longest in an emulated dom0: a request starts one
//! at most.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use flate2::read::GzDecoder;

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port = port.ok_or_else(|| io::Error::other("usage: agent PORT"))?;
    // A connection that is gone before it is taken is nobody's loss.
    for connection in TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?.incoming().flatten() {
        // Errors go to dom0's console, where the log of the testbed has them.
        thread::spawn(|| serve(connection).unwrap_or_else(|error| eprintln!("agent: {error}")));
    }
    Ok(())
}

fn serve(connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let line = line(&connection)?;
    let line = line.as_str();
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (length, path) = rest.split_once(' ').unwrap_or((rest, ""));
    let body = || -> io::Result<Vec<u8>> {
        let length = length.parse().map_err(|_| io::Error::other(format!("no length in {line:?}")))?;
        let mut body = Vec::new();
        let got = (&connection).take(length).read_to_end(&mut body)?;
        if (got as u64) < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(body) }
    };
    match verb {
        "exec" => exec(&body()?, &connection),
        "stream" => stream(&body()?, &connection),
        "put" => {
            let status = put(Path::new(path), &body()?);
            writeln!(&connection, "{}", u8::from(status.is_err()))?;
            status
        }
        "get" => get(rest, &connection),
        "forward" => forward(rest, connection),
        _ => Err(io::Error::other(format!("not a request: {line:?}"))),
    }
}

/// The request's line, and no byte of what comes behind it: that may be for another program.
fn line(mut connection: &TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        connection.read_exact(&mut byte)?;
        match byte {
            [b'\n'] => return String::from_utf8(line).map_err(io::Error::other),
            [other] => line.push(other),
        }
    }
}

/// A shell that runs this script.
fn shell(script: &[u8]) -> io::Result<Command> {
    let script = str::from_utf8(script).map_err(io::Error::other)?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null());
    Ok(command)
}

/// The exit status as a shell gives it.
fn number(status: ExitStatus) -> i32 {
    status.code().unwrap_or(128 + status.signal().unwrap_or_default())
}

fn exec(script: &[u8], mut connection: &TcpStream) -> io::Result<()> {
    // Files and no pipes: what the script leaves in the background may hold them.
    let (mut out, mut err) = (temporary()?, temporary()?);
    let status = shell(script)?.stdout(out.try_clone()?).stderr(err.try_clone()?).status()?;
    let mut lengths = [0; 2];
    for (length, file) in lengths.iter_mut().zip([&mut out, &mut err]) {
        *length = file.metadata()?.len();
        file.seek(SeekFrom::Start(0))?;
    }
    writeln!(connection, "{} {} {}", number(status), lengths[0], lengths[1])?;
    io::copy(&mut out.take(lengths[0]), &mut connection)?;
    io::copy(&mut err.take(lengths[1]), &mut connection)?;
    Ok(())
}

fn stream(script: &[u8], connection: &TcpStream) -> io::Result<()> {
    let output = || connection.try_clone().map(OwnedFd::from);
    shell(script)?.stdout(output()?).stderr(output()?).status()?;
    Ok(())
}

fn forward(address: &str, connection: TcpStream) -> io::Result<()> {
    let input = OwnedFd::from(connection.try_clone()?);
    Command::new("socat").args(["-", address]).stdin(input).stdout(OwnedFd::from(connection)).status()?;
    Ok(())
}

/// A file without a name.
fn temporary() -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let path = format!("/tmp/agent.{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let file = File::options().create_new(true).read(true).append(true).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// What is all zeros becomes a hole, piece by piece of this size.
const PIECE: usize = 64 << 10;

fn put(path: &Path, packed: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create(path)?;
    let mut content = GzDecoder::new(packed);
    let mut length = 0;
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        piece.clear();
        if (&mut content).take(PIECE as u64).read_to_end(&mut piece)? == 0 {
            return file.set_len(length);
        }
        length += piece.len() as u64;
        if piece.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Start(length))?;
        } else {
            file.write_all(&piece)?;
        }
    }
}

fn get(path: &str, mut connection: &TcpStream) -> io::Result<()> {
    // Read in one go: a log may grow meanwhile.
    match fs::read(path) {
        Ok(content) => {
            writeln!(connection, "0 {}", content.len())?;
            connection.write_all(&content)
        }
        Err(_) => writeln!(connection, "1 0"),
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use std::io::Cursor;
    use std::os::unix::fs::MetadataExt;

    /// What the agent answers to a request.
    fn answer(request: &[u8]) -> Vec<u8> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(request).unwrap();
        let (connection, _) = listener.accept().unwrap();
        // What is no request is an error here, and an end of the connection there.
        drop(serve(connection));
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_script_s_status_and_outputs_come_back() {
        assert_eq!(answer(b"exec 32\necho out; echo error >&2; exit 3"), b"3 4 6\nout\nerror\n");
        assert_eq!(answer(b"stream 7\necho ab"), b"ab\n");
        assert_eq!(answer(b"dance\n"), b"");
    }

    #[test]
    fn a_file_is_written_with_holes_and_read() {
        let path = std::env::temp_dir().join(format!("agent-{}/file", std::process::id()));
        let content = [vec![7; 5], vec![0; 1 << 20], vec![9; 3]].concat();
        let mut packed = Vec::new();
        let mut gzip = flate2::read::GzEncoder::new(Cursor::new(&content), flate2::Compression::fast());
        gzip.read_to_end(&mut packed).unwrap();
        let head = format!("put {} {}\n", packed.len(), path.display());
        assert_eq!(answer(&[head.as_bytes(), &packed].concat()), b"0\n");
        assert!(fs::read(&path).unwrap() == content);
        assert!(path.metadata().unwrap().blocks() * 512 < 512 << 10, "there are no holes");
        let answer_to_get = answer(format!("get {}\n", path.display()).as_bytes());
        assert!(answer_to_get == [format!("0 {}\n", content.len()).as_bytes(), &content].concat());
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(answer(format!("get {}\n", path.display()).as_bytes()), b"1 0\n");
    }
}
