//! The scripted model's HTTP side: routes, and the state of one script.
//!
//! The position in the script is the number of results in each request, so a client may
//! repeat or resume a request. The server listens on loopback in a network namespace of
//! its own, hence the fixed port.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::log::{Log, What};
use super::{Answer, Script, ToolCall, Turn, anthropic, chat, gemini, responses, tools};

/// Where the scripted model listens, inside its namespace.
pub const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8462);

/// A request holds every tool's schema and the talk so far: far below this.
const MAX_REQUEST_BYTES: usize = 32 << 20;

/// A scripted model, ready to serve.
#[derive(Debug)]
pub struct Model {
    script: Script,
    state: Mutex<Progress>,
    keep: Option<PathBuf>,
}

#[derive(Debug)]
struct Progress {
    log: Log,
    ordered: BTreeSet<usize>,
    answered: usize,
    requests: usize,
}

impl Model {
    /// A model that follows `script`, writes `log`, and keeps each request's
    /// body as a file in `keep`.
    pub fn new(script: Script, log: Log, keep: Option<PathBuf>) -> Self {
        let progress = Progress {
            log,
            ordered: BTreeSet::new(),
            answered: 0,
            requests: 0,
        };
        Self {
            script,
            state: Mutex::new(progress),
            keep,
        }
    }

    /// Serves until the process ends.
    pub async fn serve(self, listener: tokio::net::TcpListener) -> anyhow::Result<()> {
        let router = Router::new()
            .fallback(handle)
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(Arc::new(self));
        axum::serve(listener, router)
            .await
            .context("serve the scripted model")
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> anyhow::Result<Response> {
        let mut progress = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if method != Method::POST {
            return catalogue(&mut progress.log, path);
        }
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        self.keep(&mut progress, &request)?;
        let Some((dialect, turn)) = Dialect::of(path, &request) else {
            let why = "no route".to_owned();
            let path = path.to_owned();
            progress.log.add(What::Refused { path, why })?;
            return Ok(refusal());
        };
        progress.log.add(What::Request {
            path: path.to_owned(),
            model: turn.model.clone(),
            tools: turn.tools.iter().map(|tool| tool.name.clone()).collect(),
        })?;
        let answer = self.next(&mut progress, path, &turn)?;
        Ok(dialect.render(&turn, &answer))
    }

    /// The script's next step after `turn`.
    fn next(&self, progress: &mut Progress, path: &str, turn: &Turn) -> anyhow::Result<Answer> {
        for index in progress.answered..turn.results.len() {
            let text = turn.results[index].text.clone();
            progress.log.add(What::Result { index, text })?;
        }
        progress.answered = progress.answered.max(turn.results.len());
        let index = turn.results.len();
        let farewell = || Answer::Text(self.script.farewell.clone());
        let Some(call) = self.script.calls.get(index) else {
            return Ok(farewell());
        };
        if turn.tools.is_empty() {
            return Ok(farewell());
        }
        let Some(order) = tools::order(call, &format!("call_{index}"), &turn.tools) else {
            let why = format!("no tool on offer can do {call:?}");
            let path = path.to_owned();
            progress.log.add(What::Refused { path, why })?;
            return Ok(farewell());
        };
        if progress.ordered.insert(index) {
            let ToolCall { id, name, input } = order.clone();
            progress.log.add(What::Ordered {
                index,
                id,
                call: call.clone(),
                tool: name,
                input,
            })?;
        }
        Ok(Answer::ToolCall(order))
    }

    fn keep(&self, progress: &mut Progress, request: &Value) -> anyhow::Result<()> {
        let Some(folder) = &self.keep else {
            return Ok(());
        };
        progress.requests += 1;
        let path = folder.join(format!("request-{:03}.json", progress.requests));
        fs::write(&path, serde_json::to_vec_pretty(request)?)
            .with_context(|| format!("write {}", path.display()))
    }
}

async fn handle(
    State(model): State<Arc<Model>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    match model.answer(&method, uri.path(), &body) {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

/// Clients that list the models first accept any name after an empty, well-formed list.
fn catalogue(log: &mut Log, path: &str) -> anyhow::Result<Response> {
    if path.ends_with("/models") {
        let models = json!({"object": "list", "data": [], "models": []});
        return Ok(axum::Json(models).into_response());
    }
    let why = "no route".to_owned();
    let path = path.to_owned();
    log.add(What::Refused { path, why })?;
    Ok(refusal())
}

fn refusal() -> Response {
    let error = json!({"error": {"type": "not_found_error", "message": "not scripted"}});
    (StatusCode::NOT_FOUND, axum::Json(error)).into_response()
}

#[derive(Debug, Clone, Copy)]
enum Dialect {
    Anthropic,
    Responses,
    Chat,
    Gemini,
}

impl Dialect {
    /// Base URLs differ in their prefixes; the last parts of the path do not.
    fn of(path: &str, request: &Value) -> Option<(Self, Turn)> {
        if path.ends_with("/messages") {
            return Some((Self::Anthropic, anthropic::read(request)));
        }
        if path.ends_with("/responses") {
            return Some((Self::Responses, responses::read(request)));
        }
        if path.ends_with("/chat/completions") {
            return Some((Self::Chat, chat::read(request)));
        }
        let (model, method) = path.rsplit_once("/models/")?.1.split_once(':')?;
        let stream = match method {
            "streamGenerateContent" => true,
            "generateContent" => false,
            _ => return None,
        };
        Some((Self::Gemini, gemini::read(request, model, stream)))
    }

    fn render(self, turn: &Turn, answer: &Answer) -> Response {
        if turn.stream {
            let events = match self {
                Self::Anthropic => anthropic::events(turn, answer),
                Self::Responses => responses::events(turn, answer),
                Self::Chat => chat::events(turn, answer),
                Self::Gemini => gemini::events(turn, answer),
            };
            return ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response();
        }
        let whole = match self {
            Self::Anthropic => anthropic::whole(turn, answer),
            Self::Responses => responses::whole(turn, answer),
            Self::Chat => chat::whole(turn, answer),
            Self::Gemini => gemini::whole(turn, answer),
        };
        axum::Json(whole).into_response()
    }
}
