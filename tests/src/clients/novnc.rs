//! noVNC, of Debian's package of this name, in Debian's Chromium, which is driven by WebDriver (W3C).

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

use super::{MOMENT, Person, Running};
use crate::novnc_page;
use crate::vnc::Screen;

/// Emulators beside it leave the browser little.
const LIMIT: Duration = Duration::from_secs(180);

/// A browser with the page.
#[derive(Debug)]
pub struct NoVnc {
    driver: Running,
    agent: ureq::Agent,
    /// The address of the browser's session.
    session: String,
}

impl NoVnc {
    /// Opens the page, for a WebSocket at this port. `None`: it is not let in.
    pub fn open(websocket: u16, password: &str) -> Result<Option<Self>> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Its browsers are in the same group.
            .process_group(0)
            .spawn()
            .context("cannot start chromedriver")?;
        let lines = BufReader::new(driver.stdout.take().context("no standard output")?).lines();
        let driver = Running(driver);
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| {
                line.split_once("successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned())
            })
            .context("chromedriver does not start")?;
        let agent = ureq::Agent::new_with_config(
            ureq::Agent::config_builder().timeout_global(Some(LIMIT)).http_status_as_error(false).build(),
        );
        let mut browser = Self { driver, agent, session: format!("http://127.0.0.1:{port}/session") };
        // As root it has no sandbox; the rest is about a machine without a network.
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1400,1100",
        ];
        let options = json!({ "browserName": "chrome", "goog:chromeOptions": { "args": arguments } });
        let answer = browser.post("", &json!({ "capabilities": { "alwaysMatch": options } }))?;
        let id = answer.pointer("/sessionId").and_then(Value::as_str).context("no session")?;
        browser.session = format!("{}/{id}", browser.session);
        let page = novnc_page::serve(websocket, password)?.replace("resize=scale", "resize=off");
        browser.post("/url", &json!({ "url": page }))?;
        let start = Instant::now();
        loop {
            let state = browser.script(
                "const words = document.documentElement.classList, status = document.getElementById('noVNC_status');
                 return words.contains('noVNC_connected') ? 'connected' : status ? status.textContent : ''",
            )?;
            let state = state.as_str().unwrap_or_default();
            if state == "connected" && browser.picture().is_ok() {
                return Ok(Some(browser));
            }
            if state.contains("rejected") || state.contains("Something went wrong") {
                return Ok(None);
            }
            ensure!(start.elapsed() < LIMIT, "noVNC does not connect, and says {state:?}");
            thread::sleep(MOMENT);
        }
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let mut answer = self
            .agent
            .post(format!("{}{path}", self.session))
            .header("Content-Type", "application/json")
            .send(body.to_string())?;
        let text = answer.body_mut().with_config().limit(64 << 20).read_to_string()?;
        if !answer.status().is_success() {
            bail!("the browser says to {path}: {text}");
        }
        let mut answer: Value = serde_json::from_str(&text)?;
        Ok(answer.pointer_mut("/value").map(Value::take).unwrap_or_default())
    }

    fn script(&self, script: &str) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    fn actions(&self, kind: &str, actions: &[Value]) -> Result<()> {
        self.post("/actions", &json!({ "actions": [{ "type": kind, "id": kind, "actions": actions }] })).map(drop)
    }
}

impl Drop for NoVnc {
    fn drop(&mut self) {
        // A browser that does not end with its session ends with its driver.
        let _ = self.agent.delete(&self.session).call();
        let _ = Command::new("kill").arg("--").arg(format!("-{}", self.driver.0.id())).status();
    }
}

impl Person for NoVnc {
    fn picture(&mut self) -> Result<Screen> {
        let address = self.script("return document.querySelector('#noVNC_container canvas').toDataURL()")?;
        let address = address.as_str().context("no picture")?;
        let text = address.strip_prefix("data:image/png;base64,").context("the picture is no PNG")?;
        let mut bytes = vec![0; text.len()];
        let bytes = Base64::decode(text, &mut bytes).map_err(|error| anyhow::anyhow!("no Base64: {error}"))?;
        Screen::from_png(bytes)
    }

    fn type_line(&mut self, text: &str) -> Result<()> {
        const ENTER: &str = "\u{e007}";
        let keys = text.chars().map(String::from).chain([ENTER.to_owned()]);
        let actions: Vec<Value> = keys
            .flat_map(|key| {
                [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key }), pause()]
            })
            .collect();
        self.actions("key", &actions)
    }

    fn point(&mut self, places: &[(u16, u16)]) -> Result<()> {
        let corner = self.script(
            "const place = document.querySelector('#noVNC_container canvas').getBoundingClientRect();
             return [place.left, place.top]",
        )?;
        let at = |index: usize| corner.get(index).and_then(Value::as_f64).context("no place");
        let (left, top) = (at(0)?, at(1)?);
        let go = |(x, y): &(u16, u16)| {
            // The middle of the pixel, as far as the browser has halves of them.
            let (x, y) = (left + f64::from(*x) + 0.5, top + f64::from(*y) + 0.5);
            [json!({ "type": "pointerMove", "x": x.floor(), "y": y.floor(), "duration": 0 }), pause()]
        };
        let click =
            [json!({ "type": "pointerDown", "button": 0 }), pause(), json!({ "type": "pointerUp", "button": 0 })];
        let actions: Vec<Value> = places.iter().flat_map(go).chain(click).collect();
        self.actions("pointer", &actions)
    }
}

fn pause() -> Value {
    json!({ "type": "pause", "duration": MOMENT.as_millis() })
}
