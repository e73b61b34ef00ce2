//! qtest's commands: one a line, answered by one line that begins with `OK`, `FAIL` or `ERR`.
//!
//! Lines `IRQ raise N` and `IRQ lower N` stand before the answer of the command that made them.
//!
//! Source: QEMU `docs/devel/testing/qtest.rst`, `system/qtest.c`. Where QEMU ends because of a command that it cannot
//! read (an argument is missing, or is no number), the answer here is `ERR` and why.

use devmodel::access::Width;
use devmodel::time::Instant;

use crate::numbers;
use crate::pc::Pc;

/// The answer to the first command of clients, which needs no machine.
pub(crate) const ENDIANNESS: &str = "OK little";
/// Bytes that one command may read or write.
const LEN_MAX: u64 = 1 << 30;

/// The client's session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// What was received of a line that is not complete.
    line: Vec<u8>,
    intercepted: bool,
}

/// A command that cannot be read, and why.
struct Malformed(&'static str);

impl Session {
    /// Another client is there.
    pub(crate) fn restart(&mut self) {
        self.line.clear();
    }

    /// Takes received bytes, and gives back the complete lines in them.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Vec<String> {
        self.line.extend_from_slice(bytes);
        let mut lines = Vec::new();
        let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') else { return lines };
        let rest = self.line.split_off(end + 1);
        for line in self.line.split(|byte| *byte == b'\n') {
            lines.push(String::from_utf8_lossy(line).trim_end_matches('\r').to_owned());
        }
        // Behind the last line feed there is nothing.
        lines.pop();
        self.line = rest;
        lines
    }

    /// Performs a command on a machine that runs or not, and gives back its answer without a line feed.
    pub(crate) fn perform(&mut self, pc: &mut Pc, runs: bool, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let answer = match words.split_first() {
            None => Err(Malformed("empty command")),
            Some((name, arguments)) => self.command(pc, runs, name, &Arguments(arguments)),
        };
        answer.unwrap_or_else(|Malformed(why)| format!("ERR {why}"))
    }

    fn command(&mut self, pc: &mut Pc, runs: bool, name: &str, arguments: &Arguments<'_>) -> Result<String, Malformed> {
        match name {
            "irq_intercept_in" | "irq_intercept_out" => return self.intercept(pc, name, arguments),
            "set_irq_in" => {
                let path = arguments.word(0)?;
                let (pin, level) = (arguments.number(2)?, arguments.number(3)?);
                if !is_ioapic(path) {
                    return Ok("FAIL Unknown device".to_owned());
                }
                let is_pin = arguments.word(1)? == "unnamed-gpio-in"
                    && usize::try_from(pin).is_ok_and(|pin| pc.world.irqs.force(pin, level != 0));
                return Ok(if is_pin { "OK" } else { "FAIL Unknown pin" }.to_owned());
            }
            "outb" | "outw" | "outl" => {
                let [value, ..] = halves(arguments.number(1)?);
                pc.port_write(arguments.port()?, width(name)?, value);
            }
            "inb" | "inw" | "inl" => return Ok(format!("OK 0x{:04x}", pc.port_read(arguments.port()?, width(name)?))),
            "writeb" | "writew" | "writel" | "writeq" => {
                let value = arguments.number(1)?.to_le_bytes();
                pc.write(arguments.number(0)?, &value[..width(name)?.bytes()]);
            }
            "readb" | "readw" | "readl" | "readq" => {
                let mut value = [0; 8];
                pc.read(arguments.number(0)?, &mut value[..width(name)?.bytes()]);
                return Ok(format!("OK 0x{:016x}", u64::from_le_bytes(value)));
            }
            "read" | "b64read" => {
                let (addr, len) = (arguments.number(0)?, arguments.len()?);
                if len == 0 && name == "read" {
                    return Err(Malformed("invalid argument size"));
                }
                let mut data = vec![0; len];
                pc.read(addr, &mut data);
                let encode = if name == "read" { numbers::hexadecimal } else { numbers::base64 };
                return Ok(format!("OK {}", encode(&data)));
            }
            "write" | "b64write" => {
                let (addr, len, text) = (arguments.number(0)?, arguments.len()?, arguments.word(2)?);
                if text.len() < 3 {
                    return Err(Malformed("invalid argument size"));
                }
                let mut data =
                    if name == "write" { numbers::from_hexadecimal(text, len) } else { numbers::from_base64(text) };
                data.truncate(len);
                pc.write(addr, &data);
            }
            "memset" => {
                let (addr, len) = (arguments.number(0)?, arguments.len()?);
                let [byte, ..] = arguments.number(2)?.to_le_bytes();
                pc.write(addr, &vec![byte; len]);
            }
            "endianness" => return Ok(ENDIANNESS.to_owned()),
            "clock_step" | "clock_set" if pc.guest.is_some() => return Ok("FAIL the clock is the CPU's".to_owned()),
            "clock_step" => return clock_step(pc, runs, arguments),
            "clock_set" => {
                let target = arguments.signed(0)?;
                if runs {
                    pc.advance_to(Instant(u64::try_from(target).unwrap_or(0)));
                }
                let now = pc.world.now.0;
                return Ok(format!("{} {now}", if u64::try_from(target) == Ok(now) { "OK" } else { "FAIL" }));
            }
            // There are no modules.
            "module_load" => {
                arguments.word(1)?;
                return Ok("FAIL".to_owned());
            }
            _ => return Ok(format!("FAIL Unknown command '{name}'")),
        }
        Ok("OK".to_owned())
    }

    fn intercept(&mut self, pc: &mut Pc, name: &str, arguments: &Arguments<'_>) -> Result<String, Malformed> {
        let is_out = name == "irq_intercept_out";
        let answer = match arguments.word(0)? {
            path if !is_ioapic(path) => "FAIL Unknown device",
            _ if arguments.word(1).is_ok() && !is_out => "FAIL Interception of named in-GPIOs not yet supported",
            _ if self.intercepted => "OK",
            // Nothing goes out of an I/O APIC but messages.
            _ if is_out => "FAIL No intercepts installed",
            _ => {
                self.intercepted = true;
                pc.world.irqs.intercept();
                "OK"
            }
        };
        Ok(answer.to_owned())
    }
}

fn clock_step(pc: &mut Pc, runs: bool, arguments: &Arguments<'_>) -> Result<String, Malformed> {
    let before = pc.world.now;
    let step = match arguments.word(0) {
        Ok(_) => u64::try_from(arguments.signed(0)?).unwrap_or(0),
        Err(_) => match pc.deadline() {
            Some(deadline) => deadline.since(before),
            None => {
                let why = "cannot advance clock to the next deadline because there is no pending deadline";
                return Ok(format!("FAIL {why}"));
            }
        },
    };
    if runs {
        pc.advance_to(before.after(step));
    }
    let now = pc.world.now;
    Ok(if now > before { format!("OK {}", now.0) } else { "FAIL could not advance time".to_owned() })
}

/// The only device whose pins can be watched.
fn is_ioapic(path: &str) -> bool {
    path.rsplit('/').next() == Some("ioapic")
}

/// The width that the last letter of a command stands for.
fn width(name: &str) -> Result<Width, Malformed> {
    match name.bytes().last() {
        Some(b'b') => Ok(Width::Byte),
        Some(b'w') => Ok(Width::Word),
        Some(b'l') => Ok(Width::Dword),
        Some(b'q') => Ok(Width::Qword),
        _ => Err(Malformed("no such width")),
    }
}

/// The low and the high half.
fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// The words behind a command.
struct Arguments<'a>(&'a [&'a str]);

impl<'a> Arguments<'a> {
    fn word(&self, index: usize) -> Result<&'a str, Malformed> {
        self.0.get(index).copied().ok_or(Malformed("missing argument"))
    }

    fn number(&self, index: usize) -> Result<u64, Malformed> {
        numbers::parse(self.word(index)?).ok_or(Malformed("an argument is not a number"))
    }

    fn signed(&self, index: usize) -> Result<i64, Malformed> {
        numbers::parse_signed(self.word(index)?).ok_or(Malformed("an argument is not a number"))
    }

    fn port(&self) -> Result<u16, Malformed> {
        u16::try_from(self.number(0)?).map_err(|_| Malformed("there is no such port"))
    }

    fn len(&self) -> Result<usize, Malformed> {
        let len = Some(self.number(1)?).filter(|len| *len <= LEN_MAX);
        len.and_then(|len| usize::try_from(len).ok()).ok_or(Malformed("invalid argument size"))
    }
}

#[cfg(test)]
mod tests;
